# Moves that nothing disturbs, one after the other and at once: A → B → A with other data each time, two
# projects in opposite directions, webhooks faster than comin looks.

from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.site import DRUPAL, SECOND
from hostenv_scenarios.trial import Trials

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
trials = Trials(cluster)


def change_data(node, number):
    """Other rows and other files than before, and some of them gone."""
    machine = cluster.nodes[node]
    cluster.as_environment(
        machine,
        DRUPAL,
        "mysql -e \"UPDATE hostenv_demo_article SET body = CONCAT(body, ' edited in round"
        f" {number}') ORDER BY id LIMIT 1; DELETE FROM hostenv_demo_article ORDER BY id DESC LIMIT 1\"",
    )
    cluster.as_environment(
        machine,
        DRUPAL,
        f"cd ~/.local/share/files && rm -f round-{number - 1} && echo round {number} > round-{number}"
        # of packs that are larger than any other request's body
        " && head -c 40M /dev/urandom > large",
    )


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

for number, target in enumerate(("node-b", "node-a", "node-b", "node-a"), 1):
    source = cluster.deployed(DRUPAL)
    change_data(source, number)
    with trials.fault(f"none: move {number} of A → B → A → B → A", {DRUPAL: target}) as trial:
        trial.demand(trial.migrate(DRUPAL, target), "succeeded")

with trials.fault("two webhooks within one poll interval", {DRUPAL: "node-b"}) as trial:
    move = trial.migrate(DRUPAL, "node-b")
    cluster.commit(DRUPAL, "Another release while the site moves")
    push = trial.fire_webhook(DRUPAL)
    states = all_end(trial, [move, push])
    t.assertEqual(states[1], "succeeded", states)

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
    jobs = [trial.fire_webhook(site) for site in (DRUPAL, SECOND)]
    t.assertEqual(all_end(trial, jobs), ["succeeded", "succeeded"])
