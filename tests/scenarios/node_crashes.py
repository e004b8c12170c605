# A node loses its power in the middle of its work, or while the provider verifies what it has activated, and
# boots again: its work goes on at the first action that had not ended. `more_node_crashes.py` has the rest.

from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.power import crash, crash_in_move
from hostenv_scenarios.site import DRUPAL
from hostenv_scenarios.trial import Trials

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
trials = Trials(cluster)

with subtest("A provider, two nodes and a site"):
    cluster.set_up()
    cluster.add_site(DRUPAL)

crash_in_move(cluster, trials, "backup", "node-a", "node-b", "mariadb-backup .*--backup")
crash_in_move(cluster, trials, "restore", "node-b", "node-a", "restic restore")
crash_in_move(cluster, trials, "handover", "node-a", "node-b")
crash_in_move(cluster, trials, "sync", "node-b", "node-a")
crash_in_move(cluster, trials, "deactivate", "node-a", "node-b")

with trials.fault("target node crashes in verify", {DRUPAL: "node-a"}) as trial:
    cluster.shut_front_door("node-a")
    job_id = trial.migrate(DRUPAL, "node-a")
    cluster.wait_for_action(job_id, "provider", "verify", "running")
    crash(cluster, trial, "node-a", job_id)
