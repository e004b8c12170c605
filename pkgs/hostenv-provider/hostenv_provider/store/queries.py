"""What the service looks up in its database; nothing here changes it."""

import json
import sqlite3
from collections.abc import Mapping

from hostenv_core.intents import Action
from hostenv_core.names import PROVIDER_NODE
from hostenv_core.states import ENDED, FINAL, JobState, Status

from hostenv_provider.plan.plan import Environment
from hostenv_provider.rules import jobs, waits
from hostenv_provider.rules.intents import Deployed
from hostenv_provider.rules.jobs import INTENT_PHASE, Event, JobSnapshot, Request, Row
from hostenv_provider.rules.queue import Unfinished
from hostenv_provider.rules.stored import (
    Delivery,
    Job,
    StoredAction,
    StoredEvent,
    Target,
    Verification,
    WaitingIntent,
)
from hostenv_provider.store.database import Database


class Queries:
    """Consistent looks at jobs, intents, events and placements."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def job(self, job_id: str) -> Job | None:
        """The job, if there is one of this id."""
        with self._database.reading() as db:
            row = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
            return None if row is None else to_job(row)

    def recent_jobs(self, limit: int) -> list[Job]:
        """The newest jobs, newest first."""
        with self._database.reading() as db:
            rows = db.execute("SELECT * FROM jobs ORDER BY number DESC LIMIT ?", (limit,)).fetchall()
            return [to_job(row) for row in rows]

    def unpushed(self) -> list[Job]:
        """The waiting jobs whose commits are not known to be seen by all, in their order."""
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT * FROM jobs WHERE state = ? AND pushed = 0 ORDER BY position", (JobState.WAITING,)
            ).fetchall()
            return [to_job(row) for row in rows]

    def databases(self) -> dict[str, str]:
        """The series of MariaDB of each node that reported it."""
        with self._database.reading() as db:
            return {row["node"]: row["series"] for row in db.execute("SELECT node, series FROM databases")}

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each state that has any."""
        with self._database.reading() as db:
            rows = db.execute("SELECT state, COUNT(*) AS number FROM jobs GROUP BY state").fetchall()
            return {str(row["state"]): int(row["number"]) for row in rows}

    def snapshot(self, job_id: str) -> JobSnapshot:
        """The job as the rules see it."""
        with self._database.reading() as db:
            return load_snapshot(db, job_id)

    def actions(self, job_id: str, node: str | None = None) -> list[StoredAction]:
        """The action rows of one node, or of all nodes and the service."""
        with self._database.reading() as db:
            return load_actions(db, job_id, node)

    def intent(self, job_id: str, node: str) -> dict[str, object] | None:
        """The node's intent of a job, whatever became of the job."""
        with self._database.reading() as db:
            return load_intent(db, job_id, node)

    def waiting_intents(self, node: str) -> list[WaitingIntent]:
        """The intents that still wait for this node, in the order of their commits (contract 4)."""
        with self._database.reading() as db:
            return load_waiting_intents(db, node)

    def latest_events(self, job_id: str, node: str | None = None) -> list[StoredEvent]:
        """The latest event of every node that has one, or of one node; the service's own are none of them."""
        with self._database.reading() as db:
            return load_latest_events(db, job_id, node)

    def notes(self, job_id: str) -> list[StoredEvent]:
        """What each node says about its part of the job, as long as it is so, ordered by node."""
        with self._database.reading() as db:
            return _notes(db, job_id)

    def waits_for(self, job: Job) -> str | None:
        """What the job waits for, in words; None once it has ended."""
        if job.state in ENDED:
            return None
        with self._database.reading() as db:
            return waits.waits_for(load_situation(db, job.job_id))

    def backup_payload(self, job_id: str, source: str, user: str) -> dict[str, object] | None:
        """What the source reported of its successful backup; None until then."""
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT payload FROM events WHERE job = ? AND node = ? AND phase = 'backup' AND status = ?"
                " ORDER BY id DESC",
                (job_id, source, Status.SUCCESS),
            )
            for row in rows:
                payload: dict[str, object] = json.loads(row["payload"])
                if payload.get("user") == user:
                    return payload
            return None

    def verifiable(self) -> list[Verification]:
        """The checks that the service must make now."""
        with self._database.reading() as db:
            waiting = db.execute("SELECT id FROM jobs WHERE state = ?", (JobState.WAITING,)).fetchall()
            return [
                Verification(job["id"], row.action.user)
                for job in waiting
                for row in jobs.verifiable(load_snapshot(db, job["id"]))
            ]

    def target(self, job_id: str, user: str) -> Target:
        """What the job makes of an environment that it activates or reloads. Raises InvalidData."""
        with self._database.reading() as db:
            row = db.execute("SELECT * FROM targets WHERE job = ? AND user = ?", (job_id, user)).fetchone()
        document = json.loads(row["environment"])
        return Target(row["address"], Environment.from_comparable(document, f"job {job_id}, {user}"))

    def deployment(self, user: str) -> Deployed | None:
        """Where an environment is deployed."""
        with self._database.reading() as db:
            row = db.execute("SELECT * FROM deployed WHERE user = ?", (user,)).fetchone()
            return None if row is None else _to_deployed(row)

    def deployed(self, project: str) -> dict[str, Deployed]:
        """The previous placements of a project's environments (contract 7)."""
        with self._database.reading() as db:
            rows = db.execute("SELECT * FROM deployed WHERE project = ?", (project,)).fetchall()
            found = [_to_deployed(row) for row in rows]
            return {each.user: each for each in found}

    def releases(self, project: str) -> set[str]:
        """The commits that are deployed of a project, and those to which a roll-back would return."""
        found = self.deployed(project).values()
        sources = [source for each in found for source in (each.environment["repo"], each.previous_source)]
        return {str(source["rev"]) for source in sources if isinstance(source, Mapping)}

    def stale(self, project: str) -> dict[str, frozenset[str]]:
        """The nodes that hold an old copy of an environment, by user."""
        with self._database.reading() as db:
            rows = db.execute("SELECT user, node FROM stale WHERE project = ?", (project,)).fetchall()
        found: dict[str, set[str]] = {}
        for row in rows:
            found.setdefault(row["user"], set()).add(row["node"])
        return {user: frozenset(nodes) for user, nodes in found.items()}

    def may_read_source(self, node: str, project: str) -> bool:
        """Whether the node hosts an environment of the project or has an open action for one (contract 4)."""
        # The check of what a node has activated is its own too: until it ends, nobody is deployed there. Few
        # jobs wait, and a project may have had many: `+` keeps SQLite from going through these.
        with self._database.reading() as db:
            row = db.execute(
                "SELECT EXISTS (SELECT 1 FROM deployed WHERE project = ? AND node = ?) OR EXISTS ("
                "SELECT 1 FROM actions JOIN jobs ON jobs.id = actions.job"
                " WHERE jobs.state = ? AND +project = ? AND actions.status NOT IN (?, ?, ?)"
                " AND (actions.node = ? OR actions.node = ? AND actions.to_node = ?))",
                (project, node, JobState.WAITING, project, *sorted(FINAL), node, PROVIDER_NODE, node),
            ).fetchone()
            return bool(row[0])


def to_job(row: sqlite3.Row) -> Job:
    """The job of a row of `jobs`."""
    return Job(
        job_id=row["id"],
        request=Request.from_json(json.loads(row["request"])),
        state=JobState(row["state"]),
        stage=row["stage"],
        commit_sha=row["commit_sha"],
        reason=row["reason"],
        superseded_by=row["superseded_by"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        waiting_at=row["waiting_at"],
        progress_at=row["progress_at"],
        finished_at=row["finished_at"],
        pushed=bool(row["pushed"]),
        obstacle=row["obstacle"],
        not_before=row["not_before"],
    )


def load_snapshot(db: sqlite3.Connection, job_id: str) -> JobSnapshot:
    """The job as the rules see it."""
    state = db.execute("SELECT state FROM jobs WHERE id = ?", (job_id,)).fetchone()["state"]
    nodes = db.execute("SELECT node FROM intents WHERE job = ?", (job_id,)).fetchall()
    final = db.execute(
        "SELECT DISTINCT node, action_index, status FROM events WHERE job = ? AND node <> ?"
        " AND status IN (?, ?, ?)",
        (job_id, PROVIDER_NODE, *sorted(FINAL)),
    ).fetchall()
    return JobSnapshot(
        state=JobState(state),
        rows=tuple(record.row for record in load_actions(db, job_id, None)),
        nodes=frozenset(row["node"] for row in nodes),
        final_events=frozenset((row["node"], row["action_index"], Status(row["status"])) for row in final),
    )


def load_is_last_event(db: sqlite3.Connection, job_id: str, event: Event) -> bool:
    """Whether the last event of its node says the same."""
    row = db.execute(
        "SELECT * FROM events WHERE job = ? AND node = ? ORDER BY id DESC LIMIT 1", (job_id, event.node)
    ).fetchone()
    return row is not None and (
        (row["status"], row["phase"], row["message"], row["action_index"])
        == (event.status, event.phase, event.message, event.action_index)
    )


def load_note(db: sqlite3.Connection, job_id: str, node: str) -> str | None:
    """What the node says now about its part of the job."""
    return next((note.message for note in _notes(db, job_id) if note.node == node), None)


def _notes(db: sqlite3.Connection, job_id: str) -> list[StoredEvent]:
    # A later event without a message takes back what the node said.
    rows = db.execute(
        "SELECT * FROM events WHERE id IN (SELECT MAX(id) FROM events WHERE job = ? AND phase = ?"
        " AND status IN (?, ?) GROUP BY node) AND message IS NOT NULL ORDER BY node",
        (job_id, INTENT_PHASE, Status.WAITING, Status.SUCCESS),
    ).fetchall()
    return [_to_event(row) for row in rows]


def load_actions(db: sqlite3.Connection, job_id: str, node: str | None) -> list[StoredAction]:
    """The action rows of one node, or of all nodes and the service."""
    rows = db.execute(
        "SELECT * FROM actions WHERE job = ? AND (node = ? OR ? IS NULL) ORDER BY node, idx",
        (job_id, node, node),
    ).fetchall()
    return [
        StoredAction(
            Row(
                row["node"],
                row["idx"],
                Action(
                    row["op"],
                    row["user"],
                    row["from_node"],
                    row["to_node"],
                    tuple(json.loads(row["migrations"])),
                ),
                Status(row["status"]),
                row["message"],
                begun=row["started_at"] is not None,
            ),
            row["started_at"],
            row["finished_at"],
            row["updated_at"],
        )
        for row in rows
    ]


def load_waiting_intents(db: sqlite3.Connection, node: str) -> list[WaitingIntent]:
    """The intents that still wait for a node, in the order of their commits."""
    rows = db.execute(
        "SELECT jobs.id, jobs.commit_sha, intents.commit_sha AS own, intents.intent FROM jobs"
        " JOIN intents ON intents.job = jobs.id"
        " WHERE jobs.state = ? AND intents.node = ? AND NOT EXISTS (SELECT 1 FROM events WHERE"
        " events.job = jobs.id AND events.node = intents.node AND phase = ? AND status = ?)"
        " ORDER BY jobs.position",
        (JobState.WAITING, node, INTENT_PHASE, Status.SUCCESS),
    ).fetchall()
    return [
        WaitingIntent(
            row["id"], row["own"] or row["commit_sha"], json.loads(row["intent"]), row["commit_sha"]
        )
        for row in rows
    ]


def load_latest_events(db: sqlite3.Connection, job_id: str, node: str | None) -> list[StoredEvent]:
    """The latest event of every node that has one, or of one node; the service's own are none of them."""
    rows = db.execute(
        "SELECT * FROM events WHERE id IN (SELECT MAX(id) FROM events WHERE job = ? AND node <> ?"
        " GROUP BY node) AND (node = ? OR ? IS NULL) ORDER BY node",
        (job_id, PROVIDER_NODE, node, node),
    ).fetchall()
    return [_to_event(row) for row in rows]


def load_situation(db: sqlite3.Connection, job_id: str) -> waits.Situation:
    """A job and what is around it."""
    snapshot = load_snapshot(db, job_id)
    waiting = {node: load_waiting_intents(db, node) for node in snapshot.nodes - snapshot.finished}
    return waits.Situation(
        job=to_job(db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()),
        snapshot=snapshot,
        actions=load_actions(db, job_id, None),
        # The first of each node's events is the service's own: the intent is queued.
        heard={event.node for event in load_latest_events(db, job_id, None) if event.status != Status.QUEUED},
        notes={note.node: note.message or "" for note in _notes(db, job_id)},
        ahead={
            node: intent.job_id
            for node, found in waiting.items()
            for intent in found[:1]
            if intent.job_id != job_id
        },
        commits={
            node: intent.commit_sha
            for node, found in waiting.items()
            for intent in found
            if intent.job_id == job_id
        },
        others=[each for each in load_unfinished(db) if each.job != job_id],
    )


def load_intent(db: sqlite3.Connection, job_id: str, node: str) -> dict[str, object] | None:
    """The node's intent of a job."""
    row = db.execute("SELECT intent FROM intents WHERE job = ? AND node = ?", (job_id, node)).fetchone()
    if row is None:
        return None
    intent: dict[str, object] = json.loads(row["intent"])
    return intent


def load_unfinished(db: sqlite3.Connection, now: str = "") -> list[Unfinished]:
    """All jobs that have not ended; `now` decides which of them are postponed."""
    rows = db.execute(
        "SELECT * FROM jobs WHERE state IN (?, ?, ?) ORDER BY number",
        (JobState.QUEUED, JobState.RUNNING, JobState.WAITING),
    ).fetchall()
    return [
        Unfinished(
            job=row["id"],
            number=row["number"],
            request=Request.from_json(json.loads(row["request"])),
            state=JobState(row["state"]),
            untouched=row["state"] == JobState.WAITING and load_snapshot(db, row["id"]).untouched,
            postponed=(row["not_before"] or "") > now,
        )
        for row in rows
    ]


def load_delivered(db: sqlite3.Connection, delivery: Delivery) -> str | None:
    """The job that a delivery started, unless it, or what took its place, failed."""
    row = db.execute(
        "SELECT job FROM deliveries WHERE hash = ? AND delivery = ?",
        (delivery.project_hash, delivery.delivery_id),
    ).fetchone()
    if row is None:
        return None
    job = last = to_job(db.execute("SELECT * FROM jobs WHERE id = ?", (row["job"],)).fetchone())
    while last.superseded_by is not None:
        last = to_job(db.execute("SELECT * FROM jobs WHERE id = ?", (last.superseded_by,)).fetchone())
    return None if last.state is JobState.FAILED else job.job_id


def _to_event(row: sqlite3.Row) -> StoredEvent:
    return StoredEvent(row["id"], row["node"], row["status"], row["phase"], row["message"], row["created_at"])


def _to_deployed(row: sqlite3.Row) -> Deployed:
    previous = row["previous_source"]
    return Deployed(
        user=row["user"],
        node=row["node"],
        environment=json.loads(row["environment"]),
        previous_source=None if previous is None else json.loads(previous),
        uncertain=bool(row["uncertain"]),
    )
