# The link between the provider and a node is cut in the middle of each action, the provider's own `verify`
# among them, for 5 s and for longer than a node waits for an answer (30 s). Nobody gives up, and nobody takes
# silence for a verdict.

import time
from contextlib import contextmanager

from hostenv_scenarios import trap
from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.site import DRUPAL
from hostenv_scenarios.trial import Trials

SHORT, LONG = 5, 40
OTHER = {"node-a": "node-b", "node-b": "node-a"}

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
trials = Trials(cluster)


@contextmanager
def cut(victim, seconds):
    """The victim's link is cut for so long; what the block lets go on goes on without it."""
    cluster.nodes[victim].block()
    yield
    time.sleep(seconds)
    cluster.nodes[victim].unblock()


def cut_in(trial, set_trap, actor, victim, seconds, job_id):
    """Cut the link once the actor has begun the action."""
    set_trap.wait()
    with cut(victim, seconds):
        trap.go_on(cluster, actor)
    trial.demand(job_id, "succeeded")


with subtest("A provider, two nodes and a site"):
    cluster.set_up()
    cluster.add_site(DRUPAL)

source = "node-a"
for seconds in (SHORT, LONG):
    for op in ("backup", "restore", "sync", "handover", "activate", "deactivate"):
        for role in ("source", "target"):
            target = OTHER[source]
            actor = source if op in ("backup", "handover", "deactivate") else target
            victim = source if role == "source" else target
            with trials.fault(f"link of the {role} cut for {seconds} s in {op}", {DRUPAL: target}) as trial:
                set_trap = trap.halt_in(cluster, actor, op)
                cut_in(trial, set_trap, actor, victim, seconds, trial.migrate(DRUPAL, target))
            source = target
    for role in ("source", "target"):
        target = OTHER[source]
        victim = source if role == "source" else target
        with trials.fault(f"link of the {role} cut for {seconds} s in verify", {DRUPAL: target}) as trial:
            cluster.shut_front_door(target)
            job_id = trial.migrate(DRUPAL, target)
            cluster.wait_for_action(job_id, "provider", "verify", "running")
            with cut(victim, seconds):
                cluster.open_front_door(target)
            trial.demand(job_id, "succeeded")
        source = target
    for victim in (source, OTHER[source]):
        role = "node" if victim == source else "other node"
        with trials.fault(f"link of the {role} cut for {seconds} s in reload", {DRUPAL: source}) as trial:
            cluster.commit(DRUPAL, "Another release")
            set_trap = trap.halt_in(cluster, source, "reload")
            cut_in(trial, set_trap, source, victim, seconds, trial.fire_webhook(DRUPAL))
