# A node loses its power in the middle of each kind of action and boots again: its work goes on at the first
# action that had not ended.

from hostenv_scenarios import trap
from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.site import DRUPAL
from hostenv_scenarios.trial import Trials

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
trials = Trials(cluster)


def crash(trial, node, set_trap, job_id):
    set_trap.wait()
    cluster.nodes[node].crash()
    cluster.nodes[node].start()
    trial.demand(job_id, "succeeded")


def crash_in_move(op, source, target):
    node = source if op in ("backup", "deactivate") else target
    role = "source" if node == source else "target"
    with trials.fault(f"{role} node crashes in {op}", {DRUPAL: target}) as trial:
        set_trap = trap.halt_in(cluster, node, op)
        crash(trial, node, set_trap, trial.migrate(DRUPAL, target))


with subtest("A provider, two nodes and a site"):
    cluster.set_up()
    cluster.add_site(DRUPAL)

crash_in_move("backup", "node-a", "node-b")
crash_in_move("restore", "node-b", "node-a")
crash_in_move("activate", "node-a", "node-b")
crash_in_move("deactivate", "node-b", "node-a")

with trials.fault("node crashes in reload", {DRUPAL: "node-a"}) as trial:
    cluster.commit(DRUPAL, "Another release")
    set_trap = trap.halt_in(cluster, "node-a", "reload")
    crash(trial, "node-a", set_trap, trial.fire_webhook(DRUPAL))
