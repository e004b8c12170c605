# Three projects on one node: the action of the first hangs, what follows the verdict of the second fails for
# ever, and the third deploys meanwhile as if it were alone. Then their owners mend the two, and both end
# without an operator. At last nobody mends: an action that hangs ends at its time limit.

import json
import time

from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.driver import quote
from hostenv_scenarios.site import DRUPAL, SECOND, Site

THIRD = Site("third")
PUSHES = 10
# A release's program that waits at a pipe which nobody opens, and then stops itself, if its user wishes.
DRUSH = """<?php
$home = getenv('HOME');
if (file_exists("$home/gate")) { touch("$home/at-the-gate"); fopen("$home/gate", 'r'); }
if (file_exists("$home/stops")) {
    file_put_contents("$home/stopped", getmypid());
    exec('kill -STOP ' . getmypid());
}
"""
TIMEOUT = "/run/systemd/system/hostenv-job@.service.d"

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)


def push(site, message):
    cluster.commit(site, message)
    return cluster.fire_webhook(site)


def deploy(message):
    """The third project deploys; how long it takes, in seconds."""
    began = time.monotonic()
    cluster.demand(push(THIRD, message), "succeeded", 300)
    return round(time.monotonic() - began, 1)


def on_node():
    """What the node says of its open jobs, by job."""
    return {job["job"]: job for job in json.loads(node_a.succeed("hostenv-node jobs --json"))}


def wait_for_node(job_id, words):
    retry(lambda _last: words in on_node().get(job_id, {"doing": ""})["doing"], 180)


def as_owner(site, command):
    return cluster.as_environment(node_a, site, f"cd; {command}")


with subtest("A provider, two nodes, and three projects on one of them"):
    cluster.set_up()
    for site in (DRUPAL, SECOND, THIRD):
        cluster.add_site(site)
    path = f"{DRUPAL.folder}/web/vendor/bin"
    provider.succeed(f"mkdir -p {path}", f"printf %s {quote(DRUSH)} > {path}/drush")
    usual = deploy("A release when nothing else goes on")

with subtest("The action of the first hangs"):
    as_owner(DRUPAL, "mkfifo gate; touch stops")
    first = push(DRUPAL, "A release whose program waits at a pipe")
    node_a.wait_until_succeeds(f"test -e ~{DRUPAL.user}/at-the-gate", 300)

with subtest("What follows the verdict of the second fails for ever"):
    cluster.shut_front_door("node-a")
    second = push(SECOND, "A release that cannot be kept")
    cluster.wait_for_action(second, "provider", "verify", "running")
    # it is served, but nobody sees any more which releases are there
    as_owner(SECOND, "chmod 111 .local/share/app")
    cluster.open_front_door("node-a")
    wait_for_node(second, "could not keep")

with subtest("The third deploys as ever"):
    seconds = [deploy(f"Release {number} beside two that do not end") for number in range(1, PUSHES + 1)]
    log.info(f"alone {usual} s, beside two jobs that do not end {seconds} s")
    found = on_node()
    t.assertEqual((found[first]["op"], found[first]["doing"]), ("reload", "is under way"))
    t.assertTrue(found[first]["running"])
    t.assertIn("could not keep", found[second]["doing"])
    for job_id in (first, second):
        cluster.wait_for_job(job_id, "still under way", lambda job: job["state"] == "waiting", 60)
    log.info(node_a.succeed("hostenv-node jobs"))

with subtest("The owner of the second mends it, and its job ends"):
    as_owner(SECOND, "chmod 755 .local/share/app")
    cluster.demand(second, "succeeded", 300)

with subtest("The first goes on, its program stops, and the third deploys"):
    as_owner(DRUPAL, "mv gate opened; timeout 60 sh -c 'echo > opened'; rm opened")
    node_a.wait_until_succeeds(f"test -s ~{DRUPAL.user}/stopped", 120)
    deploy("A release beside a program that is stopped")
    t.assertEqual(on_node()[first]["doing"], "is under way")

with subtest("The owner of the first mends it, and its job ends"):
    as_owner(DRUPAL, "rm stops; kill -CONT $(cat stopped); rm stopped")
    cluster.demand(first, "succeeded", 300)

with subtest("What nobody mends ends at its time limit"):
    text = "[Service]\\nEnvironment=HOSTENV_COMIN_ACTION_TIMEOUT=45\\n"
    node_a.succeed(
        f"mkdir -p {TIMEOUT} && printf '{text}' > {TIMEOUT}/scenario.conf && systemctl daemon-reload"
    )
    as_owner(DRUPAL, "touch stops")
    job_id = push(DRUPAL, "A release whose program stops for good")
    node_a.wait_until_succeeds(f"test -s ~{DRUPAL.user}/stopped", 120)
    job = cluster.demand(job_id, "failed", 300)
    t.assertIn("timed_out", [row["status"] for row in job["actions"]])
    node_a.succeed(f"! test -e /proc/$(cat ~{DRUPAL.user}/stopped)")
    node_a.succeed(f"rm {TIMEOUT}/scenario.conf && systemctl daemon-reload")
    as_owner(DRUPAL, "rm stops stopped")
    cluster.demand(push(DRUPAL, "A release whose program ends"), "succeeded", 300)

with subtest("Nothing is left of any job"):
    node_a.wait_until_succeeds('jobs=$(ls /var/lib/hostenv/jobs); test -z "$jobs"', 120)
    node_a.succeed("systemctl start hostenv-activate.service")
    t.assertEqual(node_a.succeed("hostenv-node jobs"), "no job is open here\n")
    t.assertEqual(node_a.succeed("ls /var/lib/hostenv/locks | grep '^job-' || true"), "")
