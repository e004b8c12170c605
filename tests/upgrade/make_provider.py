"""Write `provider/` of the given folder, with the code of the version on PYTHONPATH; see README.md."""

import itertools
import json
import secrets
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

from conftest import Clock, NodeHistories, Published, environment_of
from conftest import Provider as Played
from hostenv_provider import webhook_secrets
from hostenv_provider.api import Api
from hostenv_provider.backup_accounts import BackupAccounts
from hostenv_provider.config import Config
from hostenv_provider.disks import Disks
from hostenv_provider.environment_secrets import EnvironmentSecrets
from hostenv_provider.exchange import HttpRequest
from hostenv_provider.intents import derive_actions
from hostenv_provider.jobs import Event, Request, Status
from hostenv_provider.plan import Plan, Reservation, State
from hostenv_provider.records import Delivery
from hostenv_provider.store import Store
from hostenv_provider.tokens import TokenFile

RESTIC = """#!/bin/sh
# Only the files of restic's keys.
while test "$1" != --repo; do shift; done
mkdir -p "$2/keys" && touch "$2/config" && touch "$2/keys/key-$(ls "$2/keys" | wc -l)"
"""

folder = Path(sys.argv[1]) / "provider"
data = Path(tempfile.mkdtemp())
numbers = itertools.count(1)
secrets.token_hex = lambda _size=32: f"dummy-{next(numbers):02d}"  # type: ignore[assignment]
restic = Path(tempfile.mkdtemp()) / "restic"
restic.write_text(RESTIC)
restic.chmod(0o755)
config = Config(data, data / "socket", "hostenv-provider", "http://provider", tools={"restic": str(restic)})
database = Path(tempfile.mkdtemp()) / "provider.sqlite3"
ids = (f"{number:08d}-0000-4000-8000-000000000000" for number in itertools.count(1))
clock = Clock()
store = Store(database, clock, lambda: next(ids))
played = Played(database, clock, store)

tokens = TokenFile(config)
tokens.create(["node-a", "node-b"])
tokens.rotate(["node-b"])
webhook_secrets.create(config, "demo__drupal")
webhook_secrets.rotate(config, "demo__drupal")
webhook_secrets.leave_open(config, "demo__shop")

main, staging = environment_of(), environment_of("staging")
shop, off, tool, moved, new = (
    environment_of(project=name) for name in ("shop", "off", "tool", "moved", "new")
)
every = [main, staging, shop, off, tool, moved, new]
own_secrets = EnvironmentSecrets(config)
own_secrets.ensure(each.user_name for each in every)
own_secrets.set(main.user_name, "mailPassword", "dummy-mail")
accounts = BackupAccounts(config, store, own_secrets)

# Succeeded, then a reload that failed, then one that was cancelled.
for environments in ([main, staging], [shop], [off], [tool], [moved]):
    played.finish(played.deploy(*environments), environments, "node-a")
    clock.move(10)
for each in every:
    if each is not new:
        accounts.hand_out("node-a", each.user_name)
failed = played.deploy(replace(shop, source=replace(shop.source, rev="2" * 40)))
played.post(failed, "node-a", "reload", Status.RUNNING)
played.post(failed, "node-a", "reload", Status.FAILED, message="the site answers 500")
clock.move(10)
late = played.deploy(replace(tool, source=replace(tool.source, rev="3" * 40)))
played.post(late, "node-a", "reload", Status.RUNNING)
played.post(late, "node-a", "reload", Status.TIMED_OUT, message="took 900 s")
clock.move(10)
cancelled = played.deploy(replace(shop, source=replace(shop.source, rev="4" * 40)))
store.cancel(cancelled, "root")
clock.move(10)
# A move that waits in the middle, with a note of its target, and a removal that was ended when it was begun.
move = played.deploy(replace(main, node="node-b"), staging)
store.mark_pushed(move)
played.post(move, "node-a", "backup", Status.RUNNING)
played.post(move, "node-a", "backup")
accounts.hand_out("node-b", main.user_name)
played.post(move, "node-b", "restore", Status.RUNNING)
store.record_event(move, Event("node-b", Status.WAITING, None, "waits for room on /home"))
clock.move(10)
removal = played.deploy(replace(off, enable=False))
played.post(removal, "node-a", "deactivate", Status.RUNNING)
store.cancel(removal, "root")
clock.move(10)
second_removal = played.deploy(replace(tool, enable=False))
played.post(second_removal, "node-a", "deactivate", Status.RUNNING)
clock.move(10)
# A move after its commit point, and a new environment that waits for the service's own check.
moving = played.deploy(replace(moved, node="node-b"))
played.until_check(moving)
played.verify(moving, moved.user_name)
accounts.hand_out("node-b", moved.user_name)
played.post(moving, "node-a", "deactivate", Status.RUNNING)
clock.move(10)
checked = played.deploy(new)
accounts.hand_out("node-a", new.user_name)
played.until_check(checked)
store.start_verification(checked, new.user_name)
store.record_failed_check(checked, new.user_name, "503 from /", "tried until 00:05", yields=False)
clock.move(10)
# One that cannot fetch, one that is being planned, one that had nothing to do, some that wait their turn.
idle = store.enqueue(Request("demo__idle"))
store.take_next()
store.succeed(idle.job_id, "f" * 40)
store.enqueue(Request("demo__off", refs=None))
postponed = store.take_next()
assert postponed is not None
store.set_stage(postponed.job_id, "fetch")
store.postpone(postponed.job_id, "git.example.org does not answer")
clock.move(1)
planned = store.enqueue(Request("demo__shop", refs=frozenset({"main"})), Delivery("a" * 64, "delivery-1"))
store.take_next()
store.set_stage(planned.job_id, "evaluate")
clock.move(10)
user = main.user_name
for request in (
    Request("demo__drupal", frozenset({"main"}), accept_loss=frozenset({user})),
    Request(
        "demo__drupal", frozenset(), {user: "node-b"}, {user: "node-a"}, skip_migrations=frozenset({user})
    ),
    Request("demo__shop", rollbacks={shop.user_name: "main"}),
):
    store.enqueue(request)
    clock.move(10)
store.begin_following(["node-b"])

plan = Plan(
    "demo.hostenv.test", "http://provider", {each.user_name: each for each in every}, ("node-a", "node-b")
)
state = State(
    {each.user_name: Reservation(1002 + n, each.node, (each.hostname,)) for n, each in enumerate(every)}
)
(data / "plan.json").write_text(json.dumps(plan.to_json(), indent=1) + "\n")
(data / "state.json").write_text(json.dumps(state.to_json(), indent=1) + "\n")

store.close()
with closing(sqlite3.connect(database)) as connection:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    lines = [*connection.iterdump(), f"PRAGMA user_version = {version};"]
(data / "provider.sql").write_text("\n".join(lines) + "\n")
# Before the answers, which hand out secrets; without files that Git does not keep or that say nothing.
shutil.copytree(data, folder / "data", ignore=shutil.ignore_patterns("*.lock", "backups"))

store = Store(database, clock)
published = Published(plan)
api = Api(config, store, published, NodeHistories(published), Disks(config), lambda: None)


def answers() -> list[dict[str, object]]:
    asked: list[tuple[str, dict[str, str]]] = [("/api/jobs", {}), ("/health", {})]
    for job in store.recent_jobs(50):
        path = f"/api/deploy-jobs/{job.job_id}"
        asked.append((f"/api/jobs/{job.job_id}", {}))
        for node in ("node-a", "node-b"):
            asked += [
                (f"{path}/intents/{node}", {"node": node}),
                (f"{path}/status", {"node": node}),
                (f"{path}/statuses", {"node": node}),
                (f"{path}/actions", {"node": node, "all": "1"}),
                (f"{path}/backup-snapshot", {"node": node, "source": "node-a", "user": main.user_name}),
            ]
            if job.commit_sha:
                asked.append(("/api/deploy-intents/by-sha", {"node": node, "sha": job.commit_sha}))
    for node in ("node-a", "node-b"):
        asked.append(("/api/deploy-intents/pending", {"node": node, "sha": f"{99:040x}"}))
        (sha256,) = {row["sha256"] for row in slices if row["node"] == node}
        asked.append((f"/api/nodes/{node}/slice", {"node": node, "sha256": sha256}))
        for each in every:
            asked.append((f"/api/environments/{each.user_name}/secrets", {"node": node}))
    found = []
    for path, query in asked:
        token = {"authorization": f"Bearer {tokens.show(query['node'])}"} if "node" in query else {}
        answer = api.answer(HttpRequest("GET", path, query, token))
        found.append({"path": path, "query": query, "status": answer.status, "document": answer.document})
    return found


def rules() -> dict[str, object]:
    """What the rules make of what is deployed."""
    planned = {
        project: {node: [each.to_json() for each in actions] for node, actions in sorted(found.items())}
        for project in sorted({each.project_key for each in every})
        for found in [
            derive_actions(
                store.deployed(project), plan.of_project(project), store.stale(project), {}, frozenset()
            )
        ]
    }
    return {
        "actions": planned,
        "verifiable": [[each.job_id, each.target.user] for each in store.verifiable()],
        "unpushed": [job.job_id for job in store.unpushed()],
        "accounts": store.accounts(),
        "holdings": {node: [asdict(each) for each in store.holdings(node)] for node in plan.nodes},
        "follows": {node: store.follows_provider(node) for node in plan.nodes},
    }


with closing(sqlite3.connect(database)) as connection:
    connection.row_factory = sqlite3.Row
    slices = [dict(row) for row in connection.execute("SELECT * FROM slices")]
recorded: dict[str, object] = {"now": clock().isoformat(), "rules": rules(), "before": answers()}
store.recover()
recorded["after"] = answers()
(folder / "answers.json").write_text(json.dumps(recorded, indent=1) + "\n")
