# Moves that nothing disturbs, one after the other and at once: A → B → A with other data each time, two
# projects in opposite directions, webhooks faster than comin looks. `more_moves.py` goes there twice.

from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.rounds import go_round
from hostenv_scenarios.site import DRUPAL, SECOND
from hostenv_scenarios.trial import Trials

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
trials = Trials(cluster)


def is_planned(job):
    return job["state"] not in ("queued", "running")


def all_end(trial, jobs):
    """Every job gets a verdict, and none of them is a failure."""
    states = []
    for job_id in jobs:
        job = cluster.verdict(job_id, 300)
        t.assertNotEqual(job["state"], "failed", job["reason"])
        trial.saw(job)
        states.append(job["state"])
    return states


with subtest("A provider, two nodes and a site"):
    cluster.set_up()
    cluster.add_site(DRUPAL)

go_round(cluster, trials, ("node-b", "node-a"))

with trials.fault("two webhooks within one poll interval", {DRUPAL: "node-b"}) as trial:
    with cluster.between_polls():
        move = trial.migrate(DRUPAL, "node-b")
        cluster.wait_for_job(move, "plan", is_planned, 60)
        cluster.commit(DRUPAL, "Another release while the site moves")
        push = trial.fire_webhook(DRUPAL)
        cluster.wait_for_job(push, "plan", is_planned, 60)
    t.assertEqual(all_end(trial, [move, push]), ["superseded", "succeeded"])

with trials.fault("ten webhooks in a second", {DRUPAL: "node-b"}) as trial:
    cluster.commit(DRUPAL, "A release that ten deliveries tell of")
    trial.begin()
    states = all_end(trial, cluster.fire_webhooks(DRUPAL, 10))
    t.assertIn("succeeded", states)

with subtest("A second site"):
    cluster.add_site(SECOND)

with trials.fault("two projects move in opposite directions", {DRUPAL: "node-a", SECOND: "node-b"}) as trial:
    jobs = [trial.migrate(DRUPAL, "node-a"), trial.migrate(SECOND, "node-b")]
    t.assertEqual(all_end(trial, jobs), ["succeeded", "succeeded"])

with trials.fault(
    "two webhooks of different projects within one poll interval", {DRUPAL: "node-a", SECOND: "node-b"}
) as trial:
    for site in (DRUPAL, SECOND):
        cluster.commit(site, "Releases of two projects at once")
    with cluster.between_polls():
        jobs = [trial.fire_webhook(site) for site in (DRUPAL, SECOND)]
        for job in jobs:
            cluster.wait_for_job(job, "plan", is_planned, 60)
    t.assertEqual(all_end(trial, jobs), ["succeeded", "succeeded"])
