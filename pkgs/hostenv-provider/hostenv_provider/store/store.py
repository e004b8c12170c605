"""Jobs, intents, events and placements in SQLite: each method is one transaction that carries out one rule.

The rules are in `rules.jobs`; a method loads what one needs and writes what it says (contract 5, 7).
"""

import sqlite3
import threading
import uuid
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.intents import VERIFY, intent_document
from hostenv_core.names import PROVIDER_NODE
from hostenv_core.states import ENDED, FINAL, JobState, Status

from hostenv_provider.rules import endings, jobs, queue
from hostenv_provider.rules.jobs import (
    INTENT_PHASE,
    Accepted,
    Conflict,
    Deploy,
    Event,
    Noted,
    Outcome,
    Repeated,
    Request,
    Row,
    Uncertain,
)
from hostenv_provider.rules.retention import Retention
from hostenv_provider.rules.stored import Delivery, Enqueued, Job, Prepared
from hostenv_provider.store.database import Database
from hostenv_provider.store.holdings import Holdings
from hostenv_provider.store.node_commits import NodeCommits, insert_slice
from hostenv_provider.store.pruning import Batch, Place, Pruning
from hostenv_provider.store.queries import (
    load_delivered,
    load_intent,
    load_is_last_event,
    load_note,
    load_snapshot,
    load_unfinished,
    to_job,
)
from hostenv_provider.store.writing import (
    dump,
    insert_actions,
    insert_event,
    replace_event,
    time_text,
    write_deployment,
)


def utc_now() -> datetime:
    """The time on this machine's clock."""
    return datetime.now(UTC)


class JobEnded(HostenvError):
    """Somebody has ended the job that the worker is busy with."""


class Store(Holdings, NodeCommits, Pruning):
    """The service's memory; `path` None is in memory. Simulations and tests give `clock` and `new_id`."""

    def __init__(
        self,
        path: Path | None,
        clock: Callable[[], datetime] = utc_now,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        super().__init__(Database(path), clock)
        self._new_id = new_id
        self._started = clock()
        self._changed = threading.Condition()
        self._serial = 0
        self._versions: dict[str, int] = {}
        self._heard = {}

    def close(self) -> None:
        """Close the database; nothing may use the store afterwards."""
        self._database.close()

    # Waiting for changes

    def version(self, job_id: str | None = None) -> int:
        """A number that grows with every change of the job, or of any job."""
        with self._changed:
            return self._serial if job_id is None else self._versions.get(job_id, 0)

    def wait(self, seen: int, timeout: float, job_id: str | None = None) -> None:
        """Return when `version(job_id)` is no longer `seen`, at the latest after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(
                lambda: (self._serial if job_id is None else self._versions.get(job_id, 0)) != seen, timeout
            )

    def remove_jobs(self, retention: Retention, nodes: Collection[str], place: Place) -> Batch:
        batch = super().remove_jobs(retention, nodes, place)
        with self._changed:
            for job_id in batch.removed:
                self._versions.pop(job_id, None)
        return batch

    def announce(self, job_id: str) -> None:
        """Let those that wait for a change of the job look again."""
        self._notify([job_id])

    def wake(self) -> None:
        """Let all that wait look again, as at the end of the program."""
        self._notify(())

    def _notify(self, job_ids: Iterable[str]) -> None:
        with self._changed:
            self._serial += 1
            for job_id in job_ids:
                self._versions[job_id] = self._versions.get(job_id, 0) + 1
            self._changed.notify_all()

    # The life of a job

    def enqueue(self, request: Request, delivery: Delivery | None = None) -> Enqueued:
        """Accept a request as a new job; a repeated delivery gives the job that it started before.

        After that job failed, a delivery starts a new one (contract 4).
        """
        with self._database.transaction() as db:
            earlier = None if delivery is None else load_delivered(db, delivery)
            if earlier is not None:
                return Enqueued(earlier, created=False)
            job_id = self._new_id()
            now = self._now()
            db.execute(
                "INSERT INTO jobs (id, project, request, state, created_at, progress_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (job_id, request.project, dump(request.to_json()), JobState.QUEUED, now, now),
            )
            if delivery is not None:
                db.execute(
                    "INSERT OR REPLACE INTO deliveries (hash, delivery, job, created_at) VALUES (?, ?, ?, ?)",
                    (delivery.project_hash, delivery.delivery_id, job_id, now),
                )
            superseded = self._coalesce(db, request.project)
        self._notify([job_id, *superseded])
        return Enqueued(job_id, created=True)

    def recover(self) -> None:
        """After a restart: what was running when the service ended is queued again."""
        self._started = self._clock()
        with self._database.transaction() as db:
            db.execute(
                "UPDATE jobs SET state = ?, stage = NULL, started_at = NULL WHERE state = ?",
                (JobState.QUEUED, JobState.RUNNING),
            )
            for project in {item.request.project for item in load_unfinished(db)}:
                self._coalesce(db, project)
        self._notify(())

    def take_next(self) -> Job | None:
        """Let the next job leave the queue, with all that it inherits from the jobs it supersedes."""
        with self._database.transaction() as db:
            choice = queue.next_job(load_unfinished(db, self._now()))
            if choice is None:
                return None
            self._supersede(db, choice)
            db.execute(
                "UPDATE jobs SET state = ?, started_at = ?, progress_at = ? WHERE id = ?",
                (JobState.RUNNING, self._now(), self._now(), choice.job),
            )
            job = to_job(db.execute("SELECT * FROM jobs WHERE id = ?", (choice.job,)).fetchone())
        self._notify([choice.job, *choice.superseded])
        return job

    def set_stage(self, job_id: str, stage: str) -> None:
        """Note which stage the worker begins. Raises JobEnded."""
        with self._database.transaction() as db:
            _demand_running(db, job_id)
            db.execute(
                "UPDATE jobs SET stage = ?, progress_at = ? WHERE id = ?", (stage, self._now(), job_id)
            )
        self._notify([job_id])

    def note(self, job_id: str, text: str) -> None:
        """What the service has to say about a job, beside what its nodes say."""
        with self._database.transaction() as db:
            replace_event(db, job_id, Event(PROVIDER_NODE, Status.WAITING, message=text), self._now())
        self._notify([job_id])

    def start_waiting(self, job_id: str, prepared: Prepared) -> None:
        """Record commits, intents and actions of a running job, before any node can see what it is told.

        Raises JobEnded.
        """
        now = self._now()
        with self._database.transaction() as db:
            _demand_running(db, job_id)
            db.execute(
                "UPDATE jobs SET state = ?, commit_sha = ?, pushed = 0, waiting_at = ?, progress_at = ?,"
                " position = (SELECT COALESCE(MAX(position), 0) + 1 FROM jobs WHERE position IS NOT NULL)"
                " WHERE id = ?",
                (JobState.WAITING, prepared.commit_sha, now, now, job_id),
            )
            for node, actions in prepared.actions.items():
                commit = prepared.commits[node]
                insert_slice(db, node, commit.slice)
                db.execute(
                    "INSERT INTO intents (job, node, intent, commit_sha) VALUES (?, ?, ?, ?)",
                    (job_id, node, dump(intent_document(actions)), commit.sha),
                )
                insert_event(db, job_id, Event(node, Status.QUEUED), now)
                insert_actions(db, job_id, node, actions, now)
            insert_actions(db, job_id, PROVIDER_NODE, prepared.verifications, now)
            db.executemany(
                "INSERT INTO targets (job, user, address, environment) VALUES (?, ?, ?, ?)",
                [
                    (job_id, each.user, each.address, dump(each.environment.comparable()))
                    for each in prepared.targets
                ],
            )
        self._notify([job_id])

    def mark_pushed(self, job_id: str) -> None:
        """The job's commit is in the remote, and its nodes see theirs."""
        with self._database.transaction() as db:
            db.execute("UPDATE jobs SET pushed = 1 WHERE id = ?", (job_id,))

    def plan_again(self, job_id: str) -> None:
        """The job's commit was not pushed: forget what was made of its request and queue it (contract 5)."""
        with self._database.transaction() as db:
            if load_snapshot(db, job_id).state not in (JobState.RUNNING, JobState.WAITING):
                return
            for table in ("intents", "actions", "targets", "events"):
                db.execute(f"DELETE FROM {table} WHERE job = ?", (job_id,))
            db.execute(
                "UPDATE jobs SET state = ?, stage = NULL, commit_sha = NULL, position = NULL,"
                " started_at = NULL, waiting_at = NULL, failing_since = NULL, attempts = 0 WHERE id = ?",
                (JobState.QUEUED, job_id),
            )
            project = db.execute("SELECT project FROM jobs WHERE id = ?", (job_id,)).fetchone()["project"]
            superseded = self._coalesce(db, project)
        self._notify([job_id, *superseded])

    def postpone(self, job_id: str, obstacle: str) -> float | None:
        """A running job cannot fetch its project or has no room: it is queued again, or fails (contract 5).

        Returns the seconds until its next attempt, None if it has failed or was ended meanwhile.
        """
        now = self._clock()
        with self._database.transaction() as db:
            row = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if row["state"] != JobState.RUNNING:
                return None
            since = datetime.fromisoformat(row["failing_since"]) if row["failing_since"] else now
            failing_for = (now - since).total_seconds()
            pause = queue.pause(row["attempts"] + 1, failing_for)
            if pause is None:
                tried = f"tried {row['attempts'] + 1} times in {failing_for / 60:.0f} min"
                self._apply(
                    db, job_id, jobs.fail(load_snapshot(db, job_id), f"{row['stage']}: {obstacle} ({tried})")
                )
                superseded: tuple[str, ...] = ()
            else:
                db.execute(
                    "UPDATE jobs SET state = ?, stage = NULL, started_at = NULL, obstacle = ?,"
                    " failing_since = ?, attempts = attempts + 1, not_before = ? WHERE id = ?",
                    (
                        JobState.QUEUED,
                        obstacle,
                        time_text(since),
                        time_text(now + timedelta(seconds=pause)),
                        job_id,
                    ),
                )
                superseded = self._coalesce(db, row["project"])
        self._notify([job_id, *superseded])
        return pause

    def succeed(self, job_id: str, commit_sha: str | None) -> None:
        """A running job had nothing to do on any node; `commit_sha` is what it pushed, if anything.

        Raises JobEnded.
        """
        with self._database.transaction() as db:
            _demand_running(db, job_id)
            db.execute("UPDATE jobs SET commit_sha = ? WHERE id = ?", (commit_sha, job_id))
            self._apply(db, job_id, Accepted(JobState.SUCCEEDED))
        self._notify([job_id])

    def fail(self, job_id: str, reason: str) -> None:
        """End a job that has not ended, for a reason that is not an event of a node."""
        with self._database.transaction() as db:
            snapshot = load_snapshot(db, job_id)
            if snapshot.state in ENDED:
                return
            self._apply(db, job_id, jobs.fail(snapshot, reason))
        self._notify([job_id])

    def cancel(self, job_id: str, by: str) -> Accepted | Conflict:
        """End a job for `by`, unless it has ended or is past its commit point."""
        with self._database.transaction() as db:
            outcome = endings.cancel(load_snapshot(db, job_id), by)
            if isinstance(outcome, Accepted):
                self._apply(db, job_id, outcome)
        self._notify([job_id])
        return outcome

    def expire(self, limit: float) -> list[str]:
        """Fail every waiting job that made no progress for `limit` seconds; returns their ids.

        While the service did not run, no job could make any: that time does not count.
        """
        since = self._clock() - timedelta(seconds=limit)
        if self._started > since:
            return []
        before = time_text(since)
        with self._database.transaction() as db:
            expired = [
                str(row["id"])
                for row in db.execute(
                    "SELECT id FROM jobs WHERE state = ? AND progress_at <= ?", (JobState.WAITING, before)
                )
            ]
            for job_id in expired:
                self._apply(db, job_id, endings.expire(load_snapshot(db, job_id), limit))
        if expired:
            self._notify(expired)
        return expired

    # Events

    def record_event(self, job_id: str, event: Event) -> Outcome | None:
        """Judge a node's event and write down what follows; None if the job has no intent for the node."""
        with self._database.transaction() as db:
            if load_intent(db, job_id, event.node) is None:
                return None
            outcome = jobs.on_event(load_snapshot(db, job_id), event)
            if isinstance(outcome, Noted):
                if load_note(db, job_id, event.node) == event.message:
                    return Repeated()
                replace_event(db, job_id, jobs.recorded(event, None), self._now())
            if isinstance(outcome, Accepted):
                # As it was understood: with the index of the action that it is about, or with none.
                about_intent = event.phase == INTENT_PHASE
                event = jobs.recorded(event, None if about_intent else outcome.rows[0].index)
                if about_intent and event.status not in FINAL and load_is_last_event(db, job_id, event):
                    return Repeated()
                replace_event(db, job_id, event, self._now())
                self._apply(db, job_id, outcome)
        if isinstance(outcome, Accepted | Noted):
            self._notify([job_id])
        return outcome

    def hear_database(self, node: str, series: str) -> None:
        """A node says which series of MariaDB it has."""
        # It says so often, and what is the same costs no write.
        with self._database.reading() as db:
            row = db.execute("SELECT series FROM databases WHERE node = ?", (node,)).fetchone()
        if row is None or row["series"] != series:
            with self._database.transaction() as db:
                db.execute("INSERT OR REPLACE INTO databases (node, series) VALUES (?, ?)", (node, series))

    def start_verification(self, job_id: str, user: str) -> None:
        """The service begins its check of an environment."""
        with self._database.transaction() as db:
            row = load_snapshot(db, job_id).row(PROVIDER_NODE, VERIFY, user)
            if row is not None and row.status is Status.QUEUED:
                self._write_row(db, job_id, replace(row, status=Status.RUNNING, begun=True))
        self._notify([job_id])

    def record_verification(self, job_id: str, user: str, status: Status, message: str | None) -> Outcome:
        """The end of the service's own check; success is the commit point. Too late, it changes nothing."""
        with self._database.transaction() as db:
            outcome = jobs.on_verification(load_snapshot(db, job_id), user, status, message)
            if isinstance(outcome, Accepted):
                insert_event(db, job_id, Event(PROVIDER_NODE, status, VERIFY, message), self._now())
                self._apply(db, job_id, outcome)
        if isinstance(outcome, Accepted):
            self._notify([job_id])
        return outcome

    def record_failed_check(
        self, job_id: str, user: str, found: str, outlook: str, *, yields: bool
    ) -> Outcome:
        """One failed try of the service's own check, which is no progress.

        `outlook` says until when it is repeated; with `yields` not once a newer job of the project is queued.
        """
        with self._database.transaction() as db:
            newer = queue.newer_push(load_unfinished(db), job_id) if yields else None
            outcome = jobs.on_failed_check(load_snapshot(db, job_id), user, found, outlook, newer)
            if isinstance(outcome, Accepted):
                if (row := outcome.rows[0]).status in FINAL:
                    insert_event(
                        db, job_id, Event(PROVIDER_NODE, row.status, VERIFY, row.message), self._now()
                    )
                self._apply(db, job_id, outcome)
        if isinstance(outcome, Accepted):
            self._notify([job_id])
        return outcome

    # Writing down what the rules say

    def _now(self) -> str:
        return time_text(self._clock())

    def _coalesce(self, db: sqlite3.Connection, project: str) -> tuple[str, ...]:
        unfinished = load_unfinished(db)
        queued = [
            item for item in unfinished if item.state is JobState.QUEUED and item.request.project == project
        ]
        if not queued:
            return ()
        choice = queue.coalesce(unfinished, queued[-1].job)
        self._supersede(db, choice)
        return choice.superseded

    def _supersede(self, db: sqlite3.Connection, choice: queue.Choice) -> None:
        now = self._now()
        for job_id in choice.superseded:
            db.execute(
                "UPDATE jobs SET state = ?, superseded_by = ?, reason = ?, finished_at = ? WHERE id = ?",
                (JobState.SUPERSEDED, choice.job, f"superseded by job {choice.job}", now, job_id),
            )
        db.execute("UPDATE jobs SET request = ? WHERE id = ?", (dump(choice.request.to_json()), choice.job))

    def _apply(self, db: sqlite3.Connection, job_id: str, accepted: Accepted) -> None:
        now = self._now()
        for row in accepted.rows:
            self._write_row(db, job_id, row)
        for change in accepted.placements:
            if isinstance(change, Deploy):
                write_deployment(db, job_id, change)
            elif isinstance(change, Uncertain):
                db.execute(
                    "UPDATE deployed SET uncertain = 1 WHERE user = ? AND node = ?",
                    (change.user, change.node),
                )
            else:
                db.execute("DELETE FROM stale WHERE user = ? AND node = ?", (change.user, change.node))
                if change.for_good:
                    db.execute("DELETE FROM deployed WHERE user = ? AND node = ?", (change.user, change.node))
        if accepted.progress:
            db.execute("UPDATE jobs SET progress_at = ? WHERE id = ?", (now, job_id))
        if accepted.state in ENDED:
            db.execute(
                "UPDATE jobs SET state = ?, reason = ?, finished_at = ? WHERE id = ?",
                (accepted.state, accepted.reason, now, job_id),
            )

    def _write_row(self, db: sqlite3.Connection, job_id: str, row: Row) -> None:
        now = self._now()
        db.execute(
            "UPDATE actions SET status = ?, message = ?, started_at = COALESCE(started_at, ?),"
            " finished_at = ?, updated_at = ? WHERE job = ? AND node = ? AND idx = ?",
            (
                row.status,
                row.message,
                now if row.status is Status.RUNNING else None,
                now if row.status in FINAL else None,
                now,
                job_id,
                *row.key,
            ),
        )


def _demand_running(db: sqlite3.Connection, job_id: str) -> None:
    state = db.execute("SELECT state FROM jobs WHERE id = ?", (job_id,)).fetchone()["state"]
    if state != JobState.RUNNING:
        raise JobEnded("the job was ended while it was planned")
