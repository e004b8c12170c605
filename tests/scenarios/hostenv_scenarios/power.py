"""A node that loses its power in the middle of its work, and boots again."""

from hostenv_scenarios import trap
from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.site import DRUPAL
from hostenv_scenarios.trial import Trial, Trials


def crash(cluster: Cluster, trial: Trial, node: str, job_id: str) -> None:
    """Cut the node's power and boot it; its job must succeed nevertheless."""
    cluster.nodes[node].crash()
    cluster.nodes[node].start()
    trial.demand(job_id, "succeeded")


def crash_in_move(
    cluster: Cluster, trials: Trials, op: str, source: str, target: str, process: str | None = None
) -> None:
    """Move the site, and crash when the action has begun, or when a process of it runs."""
    node = source if op in ("backup", "handover", "deactivate") else target
    role = "source" if node == source else "target"
    at = f"{role} node crashes in {op}" + (f" while {process.split()[0]} runs" if process else "")
    with trials.fault(at, {DRUPAL: target}) as trial:
        set_trap = trap.halt_in(cluster, node, op, process)
        job_id = trial.migrate(DRUPAL, target)
        set_trap.wait()
        crash(cluster, trial, node, job_id)
