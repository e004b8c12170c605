# provider-service is killed by `kill -9` at each stage of contract 5 and in the middle of what a waiting job
# waits for, and the site moves all the same: no commit is pushed without its intents, no job is lost, nothing
# is done twice.

import json
from contextlib import contextmanager

from hostenv_scenarios import trap
from hostenv_scenarios.cluster import BACKUPS, REPOSITORY, Cluster
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
    "advanced",
)
SERVICE = "hostenv-provider.service"
OTHER = {"node-a": "node-b", "node-b": "node-a"}

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
trials = Trials(cluster)


def git(command):
    return provider.succeed(f"runuser -u hostenv-provider -- git -C {REPOSITORY} {command}").split()


def snapshots():
    return provider.succeed(f"ls {BACKUPS}/{DRUPAL.user}/snapshots 2>/dev/null || true").split()


def restarts():
    return int(provider.succeed(f"systemctl show --value --property NRestarts {SERVICE}"))


@contextmanager
def one_move(fault, target):
    """The block kills the service and asks for the move by the function that it is given; it is done once."""
    with trials.fault(fault, {DRUPAL: target}) as trial:
        (before,), backed_up = git("rev-parse main"), snapshots()
        asked = []

        def move():
            asked.append(trial.migrate(DRUPAL, target))
            return asked[0]

        yield move
        job = trial.demand(asked[0], "succeeded")
        source = OTHER[target]
        t.assertEqual(
            sorted((row["node"], row["op"]) for row in job["actions"]),
            sorted(
                [
                    (source, "backup"),
                    (source, "sync"),
                    (source, "handover"),
                    (source, "deactivate"),
                    (target, "activate"),
                    (target, "restore"),
                    (target, "sync"),
                    ("provider", "verify"),
                ]
            ),
        )
        # one commit for the placement and the plan, however often it was planned
        t.assertEqual(git(f"rev-list {before}..main"), [job["commitSha"]], json.dumps(job))
        t.assertEqual(len(snapshots()), len(backed_up) + 1)


def killed_at(stage, target):
    with one_move(f"provider-service killed at {stage}", target) as move:
        before = git("rev-parse main")
        with cluster.service_with({"HOSTENV_PROVIDER_STOP_AT": stage}, restart=False):
            move()
            provider.wait_until_succeeds(f"systemctl is-failed {SERVICE}", 120)
            t.assertEqual(
                provider.succeed(f"systemctl show --value --property ExecMainStatus {SERVICE}").strip(), "9"
            )
            t.assertEqual(
                git("rev-parse main") == before,
                stage not in ("pushed", "advanced"),
                "when a commit may be seen",
            )


@contextmanager
def killed_while_waiting(moment, target):
    """The block kills the service once, at that moment of the move; systemd starts it again 2 s later."""
    before = restarts()
    with one_move(f"provider-service killed {moment}", target) as move:
        yield move
    t.assertEqual(restarts(), before + 1)


def kill():
    provider.succeed(f"systemctl kill --signal=KILL {SERVICE}")


def killed_in(op, source, target):
    """Kill the service while a node performs an action, which goes on and ends without it."""
    node = source if op in ("backup", "handover", "deactivate") else target
    with killed_while_waiting(f"while a node performs {op}", target) as move:
        set_trap = trap.halt_in(cluster, node, op)
        move()
        set_trap.wait()
        kill()
        trap.go_on(cluster, node)


with subtest("A provider, two nodes and a site"):
    cluster.set_up()
    cluster.add_site(DRUPAL)

for number, stage in enumerate(STAGES):
    killed_at(stage, ("node-b", "node-a")[number % 2])

killed_in("backup", "node-b", "node-a")
killed_in("restore", "node-a", "node-b")

with killed_while_waiting("in its own verify", "node-a") as move:
    cluster.shut_front_door("node-a")
    job_id = move()
    cluster.wait_for_action(job_id, "provider", "verify", "running")
    kill()
    cluster.open_front_door("node-a")

# after the commit point, when neither node has acted on it
with killed_while_waiting("between verify and thaw", "node-b") as move:
    cluster.shut_front_door("node-b")
    set_trap = trap.halt_in(cluster, "node-a", "deactivate")
    job_id = move()
    cluster.wait_for_action(job_id, "provider", "verify", "running")
    trap.halt(cluster, "node-b")
    cluster.open_front_door("node-b")
    set_trap.wait()
    kill()
    for node in ("node-b", "node-a"):
        trap.go_on(cluster, node)

with killed_while_waiting("between thaw and deactivate", "node-a") as move:
    set_trap = trap.halt_in(cluster, "node-b", "deactivate")
    move()
    set_trap.wait()
    cluster.writable(DRUPAL, "node-a", 120)
    kill()
    trap.go_on(cluster, "node-b")
