# provider-service is killed by `kill -9` at each stage of contract 5, and the site moves all the same: no
# commit is pushed without its intents, no job is lost, nothing is done twice.

import json

from hostenv_scenarios.cluster import REPOSITORY, Cluster
from hostenv_scenarios.site import DRUPAL
from hostenv_scenarios.trial import Trials

STAGES = (
    "sync_repository",
    "update_flake",
    "generate_plan",
    "dns_gate",
    "load_plan",
    "resolve_nodes",
    "derive_intents",
    "write_deploy_intent",
    "finalize_repository",
    "push",
    "pushed",
)
SERVICE = "hostenv-provider.service"

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
trials = Trials(cluster)


def head():
    return provider.succeed(f"runuser -u hostenv-provider -- git -C {REPOSITORY} rev-parse main").strip()


def killed_at(stage, target):
    with trials.fault(f"provider-service killed at {stage}", {DRUPAL: target}) as trial:
        before = head()
        with cluster.service_with({"HOSTENV_PROVIDER_STOP_AT": stage}, restart=False):
            job_id = trial.migrate(DRUPAL, target)
            provider.wait_until_succeeds(f"systemctl is-failed {SERVICE}", 120)
            t.assertEqual(
                provider.succeed(f"systemctl show --value --property ExecMainStatus {SERVICE}").strip(), "9"
            )
            t.assertEqual(head() == before, stage != "pushed", "when a commit may be seen")
        job = trial.demand(job_id, "succeeded")
        actions = sorted((row["node"], row["op"]) for row in job["actions"])
        source = "node-a" if target == "node-b" else "node-b"
        t.assertEqual(
            actions,
            sorted(
                [
                    (source, "backup"),
                    (source, "deactivate"),
                    (target, "activate"),
                    (target, "restore"),
                    ("provider", "verify"),
                ]
            ),
        )
        # one commit for the placement and the plan, however often it was planned
        commits = provider.succeed(
            f"runuser -u hostenv-provider -- git -C {REPOSITORY} rev-list {before}..main"
        ).split()
        t.assertEqual(commits, [job["commitSha"]], json.dumps(job))


with subtest("A provider, two nodes and a site"):
    cluster.set_up()
    cluster.add_site(DRUPAL)

for number, stage in enumerate(STAGES):
    killed_at(stage, ("node-b", "node-a")[number % 2])
