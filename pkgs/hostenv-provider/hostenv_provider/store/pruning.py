"""What the store removes again, a little at a time: ended jobs with all their rows, and old deliveries."""

import sqlite3
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from hostenv_core.states import JobState

from hostenv_provider.rules.retention import JOBS_KEPT, OpenJobs, Past, Retention, removable
from hostenv_provider.store.queries import Queries
from hostenv_provider.store.writing import time_text

# So many rows of a kind are looked at in one transaction: it holds up events for milliseconds.
_JOBS_AT_ONCE = 25
_DELIVERIES_AT_ONCE = 200

Place = tuple[str, int]
"""How far a round has come: the end and the number of the last job that it looked at."""

START: Place = ("", 0)


@dataclass(frozen=True)
class Batch:
    """The ids of the jobs that went, and where the round goes on; None if it is at its end."""

    removed: tuple[str, ...]
    place: Place | None


class Pruning(Queries):
    """Each method is one transaction, as those of `store.store.Store`."""

    _clock: Callable[[], datetime]
    # In memory only: each node says it anew every half a minute, and until then its jobs stay.
    _heard: dict[str, OpenJobs]

    def hear_open_jobs(self, node: str, job_ids: Iterable[str]) -> None:
        """A node says which jobs it has not closed."""
        self._heard[node] = OpenJobs(self._clock(), frozenset(job_ids))

    def remove_jobs(self, retention: Retention, nodes: Collection[str], place: Place) -> Batch:
        """Remove what the rule says of the next ended jobs in the order of their ends.

        `nodes` are all of the provider.
        """
        now = self._clock()
        with self._database.transaction() as db:
            rows = db.execute(
                "SELECT * FROM jobs WHERE (finished_at, number) > (?, ?) AND finished_at < ?"
                f" ORDER BY finished_at, number LIMIT {_JOBS_AT_ONCE}",
                (*place, time_text(retention.jobs_before(now))),
            ).fetchall()
            past = [_past(db, row) for row in rows]
            removed = removable(now, retention, past, {node: self._heard.get(node) for node in nodes})
            for job_id in removed:
                for table in ("intents", "actions", "targets", "events"):
                    db.execute(f"DELETE FROM {table} WHERE job = ?", (job_id,))
                db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
        at_end = len(rows) < _JOBS_AT_ONCE
        return Batch(tuple(removed), None if at_end else (rows[-1]["finished_at"], rows[-1]["number"]))

    def remove_deliveries(self, retention: Retention) -> int:
        """Forget some of the deliveries that are too old; returns how many, 0 when none is left."""
        before = time_text(retention.deliveries_before(self._clock()))
        with self._database.transaction() as db:
            return db.execute(
                "DELETE FROM deliveries WHERE rowid IN (SELECT rowid FROM deliveries WHERE created_at < ?"
                f" ORDER BY created_at LIMIT {_DELIVERIES_AT_ONCE})",
                (before,),
            ).rowcount

    def shrink(self) -> bool:
        """Give some of the file's free room back to the disk; False when there is none to give."""
        return self._database.shrink()


def _past(db: sqlite3.Connection, row: sqlite3.Row) -> Past:
    job_id, state = row["id"], JobState(row["state"])
    newer = db.execute(
        f"SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE project = ? AND number > ? LIMIT {JOBS_KEPT})",
        (row["project"], row["number"]),
    ).fetchone()[0]
    past = Past(job_id, state, datetime.fromisoformat(row["finished_at"]), newer)
    if newer < JOBS_KEPT:
        # It stays, whatever the rest is.
        return past
    named = db.execute(
        "SELECT EXISTS (SELECT 1 FROM deployed WHERE job = ?)"
        " OR EXISTS (SELECT 1 FROM deliveries WHERE job = ?)",
        (job_id, job_id),
    ).fetchone()[0]
    return replace(
        past,
        nodes=frozenset(_texts(db, "SELECT node FROM intents WHERE job = ?", job_id)),
        named=bool(named),
        superseded=frozenset(_texts(db, "SELECT id FROM jobs WHERE superseded_by = ?", job_id)),
    )


def _texts(db: sqlite3.Connection, query: str, parameter: str) -> list[str]:
    return [str(row[0]) for row in db.execute(query, (parameter,))]
