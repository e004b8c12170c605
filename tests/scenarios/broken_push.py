# A push that breaks the site is refused before anybody sees it, in seconds and with PHP's own words, and the
# push that mends it is deployed at once.

from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.site import DRUPAL
from hostenv_scenarios.trial import Trials

PAGE = f"{DRUPAL.folder}/web/modules/custom/hostenv_demo_page/src/DemoSite.php"

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
trials = Trials(cluster)


def push(edit, message):
    """Somebody edits the project and pushes; returns the job's id."""
    provider.succeed(edit)
    cluster.commit(DRUPAL, message)
    return trial.fire_webhook(DRUPAL)


def has_begun(job):
    return any(row["op"] == "reload" and row["status"] != "queued" for row in job["actions"])


def candidates(machine):
    """What still runs of releases that were asked before they were served."""
    return machine.execute("pgrep -af 'candidate-(nginx|php-fpm).conf'")[1]


with subtest("A provider, two nodes and a site"):
    cluster.set_up()
    cluster.add_site(DRUPAL)

with trials.fault("a parse error is pushed, then its fix", {DRUPAL: "node-a"}) as trial:
    provider.succeed(f"cp {PAGE} /tmp/page.php")
    broken = push(f"echo 'this is no PHP' >> {PAGE}", "A parse error")
    cluster.wait_for_job(broken, "reload that has begun", has_begun, 180)
    fix = push(f"cp /tmp/page.php {PAGE}", "Its fix")
    job = cluster.demand(broken, "failed", 180)
    t.assertRegex(job["reason"], "^node-a: reload .* front page .* status 500; PHP Parse error: ")
    verify = [row["status"] for row in job["actions"] if row["op"] == "verify"]
    t.assertEqual(verify, ["failed"], job["actions"])
    trial.demand(fix, "succeeded", 180)
    t.assertEqual(candidates(node_a), "")

t.assertEqual([each for each in trial.requests if (each.status or 0) >= 500], [])
