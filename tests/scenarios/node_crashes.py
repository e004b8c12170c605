# A node loses its power in the middle of each kind of action, or while the provider verifies what it has
# activated, and boots again: its work goes on at the first action that had not ended.

from hostenv_scenarios import trap
from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.site import DRUPAL
from hostenv_scenarios.trial import Trials

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
trials = Trials(cluster)


def crash(trial, node, job_id):
    cluster.nodes[node].crash()
    cluster.nodes[node].start()
    trial.demand(job_id, "succeeded")


def crash_in_move(op, source, target, process=None):
    """Crash when the action has begun, or when a process of it runs."""
    node = source if op in ("backup", "deactivate") else target
    role = "source" if node == source else "target"
    at = f"{role} node crashes in {op}" + (f" while {process.split()[0]} runs" if process else "")
    with trials.fault(at, {DRUPAL: target}) as trial:
        set_trap = trap.halt_in(cluster, node, op, process)
        job_id = trial.migrate(DRUPAL, target)
        set_trap.wait()
        crash(trial, node, job_id)


with subtest("A provider, two nodes and a site"):
    cluster.set_up()
    cluster.add_site(DRUPAL)

crash_in_move("backup", "node-a", "node-b")
crash_in_move("restore", "node-b", "node-a")
crash_in_move("activate", "node-a", "node-b")
crash_in_move("deactivate", "node-b", "node-a")
crash_in_move("backup", "node-a", "node-b", "restic backup")
crash_in_move("restore", "node-b", "node-a", "restic restore")
crash_in_move("restore", "node-a", "node-b", "mariadb .*--database=")

with trials.fault("node crashes in reload", {DRUPAL: "node-b"}) as trial:
    cluster.commit(DRUPAL, "Another release")
    set_trap = trap.halt_in(cluster, "node-b", "reload")
    job_id = trial.fire_webhook(DRUPAL)
    set_trap.wait()
    crash(trial, "node-b", job_id)

with trials.fault("target node crashes in verify", {DRUPAL: "node-a"}) as trial:
    cluster.shut_front_door("node-a")
    job_id = trial.migrate(DRUPAL, "node-a")
    cluster.wait_for_action(job_id, "provider", "verify", "running")
    crash(trial, "node-a", job_id)
