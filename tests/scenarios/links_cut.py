# The link between the provider and a node is cut in the middle of each action, for 5 s and for longer than a
# node waits for an answer (30 s). Nobody gives up, and nobody takes silence for a verdict.

import time

from hostenv_scenarios import trap
from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.site import DRUPAL
from hostenv_scenarios.trial import Trials

SHORT, LONG = 5, 40
OTHER = {"node-a": "node-b", "node-b": "node-a"}

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
trials = Trials(cluster)


def cut(trial, set_trap, actor, victim, seconds, job_id):
    """Cut the victim's link for so long, once the actor has begun the action; it goes on without the link."""
    set_trap.wait()
    cluster.nodes[victim].block()
    trap.go_on(cluster, actor)
    time.sleep(seconds)
    cluster.nodes[victim].unblock()
    trial.demand(job_id, "succeeded")


with subtest("A provider, two nodes and a site"):
    cluster.set_up()
    cluster.add_site(DRUPAL)

source = "node-a"
for seconds in (SHORT, LONG):
    for op in ("backup", "restore", "activate", "deactivate"):
        for role in ("source", "target"):
            target = OTHER[source]
            actor = source if op in ("backup", "deactivate") else target
            victim = source if role == "source" else target
            with trials.fault(f"link of the {role} cut for {seconds} s in {op}", {DRUPAL: target}) as trial:
                set_trap = trap.halt_in(cluster, actor, op)
                cut(trial, set_trap, actor, victim, seconds, trial.migrate(DRUPAL, target))
            source = target
    for victim in (source, OTHER[source]):
        role = "node" if victim == source else "other node"
        with trials.fault(f"link of the {role} cut for {seconds} s in reload", {DRUPAL: source}) as trial:
            cluster.commit(DRUPAL, "Another release")
            set_trap = trap.halt_in(cluster, source, "reload")
            cut(trial, set_trap, source, victim, seconds, trial.fire_webhook(DRUPAL))
