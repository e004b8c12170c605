"""What the store writes down, one table or two at a time, within a transaction of its caller."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from hostenv_core.intents import Action
from hostenv_core.states import Status

from hostenv_provider.rules.jobs import Deploy, Event


def write_deployment(db: sqlite3.Connection, job_id: str, change: Deploy) -> None:
    """The commit point of an environment: where it is deployed, as what, and which copies are stale."""
    target = db.execute(
        "SELECT environment FROM targets WHERE job = ? AND user = ?", (job_id, change.user)
    ).fetchone()
    project = db.execute("SELECT project FROM jobs WHERE id = ?", (job_id,)).fetchone()["project"]
    before = db.execute("SELECT * FROM deployed WHERE user = ?", (change.user,)).fetchone()
    sources = set(change.sources)
    previous_source = None
    if before is not None:
        sources.add(before["node"])
        last: Mapping[str, object] = json.loads(before["environment"])
        same_code = _revision(last) == _revision(json.loads(target["environment"]))
        previous_source = before["previous_source"] if same_code else dump(last["repo"])
    db.execute(
        "INSERT OR REPLACE INTO deployed (user, project, node, environment, job, previous_source)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (change.user, project, change.to_node, target["environment"], job_id, previous_source),
    )
    db.executemany(
        "INSERT OR REPLACE INTO stale (user, node, project) VALUES (?, ?, ?)",
        [(change.user, node, project) for node in sorted(sources - {change.to_node})],
    )
    db.execute("DELETE FROM stale WHERE user = ? AND node = ?", (change.user, change.to_node))


def _revision(environment: Mapping[str, object]) -> object:
    repo = environment["repo"]
    assert isinstance(repo, Mapping)
    return repo["rev"]


def insert_actions(
    db: sqlite3.Connection, job_id: str, node: str, actions: Sequence[Action], now: str
) -> None:
    """The rows of a node's intent, or of the service's own list."""
    db.executemany(
        "INSERT INTO actions (job, node, idx, op, user, from_node, to_node, migrations, status, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                job_id,
                node,
                index,
                action.op,
                action.user,
                action.from_node,
                action.to_node,
                dump(action.migrations),
                Status.QUEUED,
                now,
            )
            for index, action in enumerate(actions)
        ],
    )


def replace_event(db: sqlite3.Connection, job_id: str, event: Event, now: str) -> None:
    """Keep an event instead of the one of its kind before: a node may say the same again and again."""
    db.execute(
        "DELETE FROM events WHERE job = ? AND node = ? AND phase = ? AND status = ? AND action_index IS ?",
        (job_id, event.node, event.phase, event.status, event.action_index),
    )
    insert_event(db, job_id, event, now)


def insert_event(db: sqlite3.Connection, job_id: str, event: Event, now: str) -> None:
    """Record an event as it was understood."""
    db.execute(
        "INSERT INTO events (job, node, status, phase, message, payload, action_index, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            job_id,
            event.node,
            event.status,
            event.phase,
            event.message,
            None if event.payload is None else dump(event.payload),
            event.action_index,
            now,
        ),
    )


def time_text(moment: datetime) -> str:
    """The form in which times are kept: of a fixed width, so that texts sort as times do."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def dump(document: object) -> str:
    """The form in which documents are kept."""
    return json.dumps(document, sort_keys=True)
