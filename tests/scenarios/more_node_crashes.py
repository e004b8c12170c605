# A node loses its power at the beginning of each kind of action, and in the middle of restic's backup. These
# rows take other ways through the code of `node_crashes.py` and are tried less often.

from hostenv_scenarios import trap
from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.power import crash, crash_in_move
from hostenv_scenarios.site import DRUPAL
from hostenv_scenarios.trial import Trials

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
trials = Trials(cluster)

with subtest("A provider, two nodes and a site"):
    cluster.set_up()
    cluster.add_site(DRUPAL)

crash_in_move(cluster, trials, "backup", "node-a", "node-b")
crash_in_move(cluster, trials, "restore", "node-b", "node-a")
crash_in_move(cluster, trials, "activate", "node-a", "node-b")
crash_in_move(cluster, trials, "backup", "node-b", "node-a", "restic backup")

with trials.fault("node crashes in reload", {DRUPAL: "node-a"}) as trial:
    cluster.commit(DRUPAL, "Another release")
    set_trap = trap.halt_in(cluster, "node-a", "reload")
    job_id = trial.fire_webhook(DRUPAL)
    set_trap.wait()
    crash(cluster, trial, "node-a", job_id)
