"""Write `node/` of the given folder, with the code of the version on PYTHONPATH; see README.md."""

import copy
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from hostenv_node import spool
from hostenv_node.config import Config
from hostenv_node.decide import next_move, next_step
from hostenv_node.files import write_json
from hostenv_node.generation import Generation
from hostenv_node.intent import Action
from hostenv_node.job_view import JobView, Row
from hostenv_node.journal import JobJournal, JournalStore, Progress
from hostenv_node.runtime.environment import parse_environment
from hostenv_node.runtime.freeze import Freezes
from hostenv_node.runtime.layout import Layout
from hostenv_node.runtime.leftovers import Leftovers
from hostenv_node.runtime.record import Applied, Phase, Record, Records
from hostenv_node.runtime.render import render
from runtime_support import entry

folder = Path(sys.argv[1]) / "node"
state = folder / "state"
state.mkdir(parents=True)
TOOLS = "git nix nginx mariadb mariadbd mariadb-dump mariadb-install-db php php-fpm restic tar hostenv-node"
TOOLS += " systemctl systemd-run loginctl useradd groupadd usermod"
node_json = {
    "node": "node-b",
    "apiBaseUrl": "http://provider",
    "frontDoorGroup": "www-data",
    "applications": {"drupal": {"root": "/srv/drupal"}},
    "tools": {name: f"/usr/bin/{name}" for name in TOOLS.split()},
}
(folder / "node.json").write_text(json.dumps(node_json, indent=1) + "\n")
config = replace(Config.load(folder / "node.json", {}), state_dir=state)

U, V = "drupal-main-2855093", "drupal-staging-ffce32d"
number = 0
journals = []


def keep(journal: JobJournal) -> None:
    JournalStore(config.jobs_dir).save(journal)
    journals.append(journal)


def opened(*actions: Action) -> JobJournal:
    global number
    number += 1
    return JobJournal.opened(
        f"{number:08d}-0000-4000-8000-000000000000", f"{number:040x}", "node-b", number, actions
    )


def work(journal: JobJournal, index: int) -> None:
    """Every moment of one action, kept as journals of jobs of their own."""
    user = journal.actions[index].action.user
    started = journal.announced(index).started(index)
    moments = [journal, journal.announced(index), started, started.told(index, "left out: a pipe")]
    for progress in (Progress.SUCCESS, Progress.FAILED, Progress.TIMED_OUT):
        ended = started.ended(
            index, progress, "what it says", {"user": user, "snapshots": {"data": "9f" * 32}}
        )
        moments += [ended, ended.reported(index)]
    good = started.ended(index, Progress.SUCCESS).reported(index)
    troubled = good.troubled(user, "the disk is full")
    moments += [good.settled(user), troubled, troubled.showing("the disk is full"), good.settled(user).done()]
    for moment in moments:
        fresh = opened(*(each.action for each in journal.actions))
        keep(replace(moment, job_id=fresh.job_id, commit_sha=fresh.commit_sha, order=fresh.order))


def done(journal: JobJournal, index: int) -> JobJournal:
    return journal.started(index).ended(index, Progress.SUCCESS).reported(index)


source = opened(
    Action("backup", U, "node-b", "node-c", ("data", "drupal-migrate"), True),
    Action("deactivate", U, "node-b", "node-c", ()),
)
target = opened(
    Action("restore", V, "node-a", "node-b", ("data",)), Action("activate", V, "node-a", "node-b", ())
)
for begun in (source, target):
    work(begun, 0)
    work(done(begun, 0), 1)
work(opened(Action("reload", U, "node-b", "node-b", ()), Action("reload", V, "node-b", "node-b", ())), 0)
work(opened(Action("deactivate", V, "node-b", None, ())), 0)


cases = [
    (job_state, [*(["provider", "verify", user, verify] for user in (U, V)), ["node-a", "backup", V, backup]])
    for job_state in ("waiting", "succeeded", "failed")
    for backup, verify in (("queued", "queued"), ("success", "running"), ("success", "success"))
]


def step(found: object) -> str:
    values = [str(value) for value in asdict(found).values()]  # type: ignore[call-overload]
    return " ".join([type(found).__name__, *values])


def view(job: str, state: str, rows: list[list[str]]) -> JobView:
    return JobView(job, state, tuple(Row(*row) for row in rows))


steps = {
    each.job_id: [step(next_step(each, view(each.job_id, *case))) for case in cases] for each in journals
}
first = next_move(journals, {each.job_id: view(each.job_id, *cases[0]) for each in journals})
assert first is not None

records = Records(config.environments_dir)
release = f"{'a' * 40}-01234567"
for user, phase in ((U, Phase.ACTIVE), (V, Phase.RESTORED), ("shop-main-a26a0ad", Phase.INACTIVE)):
    document = copy.deepcopy(entry())
    document["hostenv"].update(userName=user, hostname=f"{user}.demo.hostenv.test")
    document["uid"] = 1002 + len(records.users())
    applied = Applied(document, None if phase is Phase.RESTORED else release)
    before = Applied(document, f"{'b' * 40}-89abcdef") if phase is Phase.ACTIVE else None
    job = journals[len(records.users())].job_id
    snapshots = {"drupal-migrate": "ab" * 32} if phase is Phase.RESTORED else {}
    records.put(
        Record(user, document["uid"], "drupal", phase, job, applied, before, snapshots, {job: 1772323200.5})
    )
rendered = {}
for user in records.users():
    record = records.get(user)
    assert record is not None
    layout = Layout(
        user, record.uid, record.codebase, Path("/home") / user, Path("/var/lib/hostenv/freeze") / user
    )
    files = render(parse_environment(record.applied.entry), layout, config).files
    rendered[user] = {file.path: [file.content, file.mode] for file in files}

Freezes(config.freeze_dir).freeze(U, journals[0].job_id)
Leftovers(config.leftovers_dir).note(V, "a folder is immutable", 1772323200.0)
Generation("c" * 40, Path(f"/nix/store/{'0' * 32}-hostenv-node-b-{'c' * 40}"), True).record(config)
plan = {"node": "node-b", "environments": {user: records.get(user).applied.entry for user in records.users()}}  # type: ignore[union-attr]
config.slice_file.write_text(json.dumps(plan))
write_json(config.users_file, {user: entry["uid"] for user, entry in plan["environments"].items()})  # type: ignore[attr-defined]
spool.add(config, spool.Deployment("c" * 40, "done", ""))
spool.add(config, spool.Deployment("d" * 40, "failed", "the build failed"))
recorded = {
    "cases": cases,
    "steps": steps,
    "first": [first.journal.job_id, step(first.step)],
    "rendered": rendered,
}
(folder / "answers.json").write_text(json.dumps(recorded, indent=1) + "\n")
