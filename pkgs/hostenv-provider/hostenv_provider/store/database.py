"""The SQLite file: its tables and its durable transactions (contract 5)."""

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hostenv_core.errors import HostenvError

DatabaseError = sqlite3.Error
"""The database does not answer, or its disk does not."""

_TABLES = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL,
    request TEXT NOT NULL,
    state TEXT NOT NULL,
    stage TEXT,
    commit_sha TEXT,
    position INTEGER,
    pushed INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    superseded_by TEXT,
    created_at TEXT NOT NULL,
    started_at TEXT,
    waiting_at TEXT,
    progress_at TEXT NOT NULL,
    finished_at TEXT
);
CREATE INDEX jobs_state ON jobs (state);
CREATE INDEX jobs_commit ON jobs (commit_sha);
CREATE TABLE intents (
    job TEXT NOT NULL,
    node TEXT NOT NULL,
    intent TEXT NOT NULL,
    PRIMARY KEY (job, node)
);
CREATE TABLE actions (
    job TEXT NOT NULL,
    node TEXT NOT NULL,
    idx INTEGER NOT NULL,
    op TEXT NOT NULL,
    user TEXT NOT NULL,
    from_node TEXT,
    to_node TEXT,
    migrations TEXT NOT NULL,
    status TEXT NOT NULL,
    message TEXT,
    started_at TEXT,
    finished_at TEXT,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (job, node, idx)
);
CREATE INDEX actions_user ON actions (user, node);
CREATE TABLE targets (
    job TEXT NOT NULL,
    user TEXT NOT NULL,
    address TEXT NOT NULL,
    environment TEXT NOT NULL,
    PRIMARY KEY (job, user)
);
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    node TEXT NOT NULL,
    status TEXT NOT NULL,
    phase TEXT,
    message TEXT,
    payload TEXT,
    action_index INTEGER,
    created_at TEXT NOT NULL
);
CREATE INDEX events_job ON events (job, node, id);
CREATE TABLE deployed (
    user TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    node TEXT NOT NULL,
    environment TEXT NOT NULL,
    job TEXT NOT NULL,
    previous_source TEXT
);
CREATE TABLE stale (
    user TEXT NOT NULL,
    node TEXT NOT NULL,
    project TEXT NOT NULL,
    PRIMARY KEY (user, node)
);
CREATE TABLE deliveries (
    hash TEXT NOT NULL,
    delivery TEXT NOT NULL,
    job TEXT NOT NULL,
    PRIMARY KEY (hash, delivery)
);
"""
# Why, since when and how often a queued job could not fetch its project, and when it tries again.
_RETRIES = """
ALTER TABLE jobs ADD COLUMN obstacle TEXT;
ALTER TABLE jobs ADD COLUMN failing_since TEXT;
ALTER TABLE jobs ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN not_before TEXT;
"""
# Which secrets were given to which node, and who has an account of an environment's backups. Earlier versions
# gave them to every node that began to do anything for an environment but stop it.
_HOLDINGS = """
CREATE TABLE handed_out (
    node TEXT NOT NULL,
    user TEXT NOT NULL,
    first_at TEXT NOT NULL,
    last_at TEXT NOT NULL,
    PRIMARY KEY (node, user)
);
CREATE TABLE backup_accounts (
    node TEXT NOT NULL,
    user TEXT NOT NULL,
    ending INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (node, user)
);
INSERT INTO handed_out
    SELECT node, user, MIN(started_at), MAX(updated_at) FROM actions
    WHERE node <> 'provider' AND op <> 'deactivate' AND started_at IS NOT NULL GROUP BY node, user;
"""
# Each node has a repository of its own since. What waits then gets its commits there by being pushed again.
_NODE_REPOSITORIES = """
ALTER TABLE intents ADD COLUMN commit_sha TEXT;
UPDATE jobs SET pushed = 0 WHERE state = 'waiting';
CREATE TABLE slices (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    node TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    content TEXT NOT NULL,
    UNIQUE (node, sha256)
);
CREATE TABLE followers (
    node TEXT PRIMARY KEY
);
"""
# Whether the removal or replacement of what is deployed was begun. Earlier versions said so by `enable` in
# the environment, which is true of all that is ever deployed.
_UNCERTAIN = """
ALTER TABLE deployed ADD COLUMN uncertain INTEGER NOT NULL DEFAULT 0;
UPDATE deployed SET uncertain = 1, environment = json_set(environment, '$.enable', json('true'))
    WHERE NOT json_extract(environment, '$.enable');
"""
# When a delivery came, and ways to what ended long ago, to what names it and to the last commit.
_RETENTION = """
ALTER TABLE deliveries ADD COLUMN created_at TEXT NOT NULL DEFAULT '';
UPDATE deliveries SET created_at = COALESCE((SELECT created_at FROM jobs WHERE id = job), '');
CREATE INDEX deliveries_created ON deliveries (created_at);
CREATE INDEX deliveries_job ON deliveries (job);
CREATE INDEX deployed_job ON deployed (job);
CREATE INDEX jobs_finished ON jobs (finished_at, number) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_position ON jobs (position) WHERE position IS NOT NULL;
CREATE INDEX jobs_project ON jobs (project, number);
CREATE INDEX jobs_successor ON jobs (superseded_by) WHERE superseded_by IS NOT NULL;
"""
# The series of MariaDB that each node said to have. One of an earlier version does not, and takes dumps only.
_DATABASES = """
CREATE TABLE databases (
    node TEXT PRIMARY KEY,
    series TEXT NOT NULL
);
"""
_STEPS = (_TABLES, _RETRIES, _HOLDINGS, _NODE_REPOSITORIES, _UNCERTAIN, _RETENTION, _DATABASES)
"""What makes each version of the file out of the one before, the first out of an empty one."""


_INCREMENTAL = 2
# The log beside the file is cut back to so much: a long transaction makes it grow.
_LOG_BYTES = 8 << 20
_PAGES_AT_ONCE = 128
_PAGES_KEPT = 1024
# A file with so much in it is written anew, by way of a temporary file and the log, in the time of a start.
_REWRITTEN_BYTES = 256 << 20
_ROOM = 3


class Database:
    """One connection, used by one thread at a time.

    A transaction is on the disk when its block ends, or has left no trace if the block raised.
    """

    def __init__(self, path: Path | None) -> None:
        """Open the file at `path`, or a database in memory, and bring it to this version's tables.

        Raises HostenvError if the file cannot be opened or a newer version made it.
        """
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(
                ":memory:" if path is None else path, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            # Of a new file only, and only before anything else: see `_make_shrinkable`.
            self._connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
            self._connection.execute("PRAGMA synchronous = FULL")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.Error as error:
            raise HostenvError(
                f"{path}: not usable as a database ({error}): restore it or move it away"
            ) from error
        if version > len(_STEPS):
            raise HostenvError(f"{path}: made by a newer hostenv-provider: install that version")
        for number, step in enumerate(_STEPS[version:], version + 1):
            with self.transaction() as connection:
                for statement in filter(str.strip, step.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
        self._make_shrinkable(path)

    def shrink(self) -> bool:
        """Give some free pages of the file back to the disk; False if there are none to give.

        Some stay, which the next rows fill.
        """
        with self.transaction() as connection:
            free = _number(connection, "freelist_count")
            wanted = min(_PAGES_AT_ONCE, free - _PAGES_KEPT)
            if wanted > 0:
                connection.execute(f"PRAGMA incremental_vacuum({wanted})").fetchall()
            # What cannot shrink yet stays as it is.
            return _number(connection, "freelist_count") < free

    def _make_shrinkable(self, path: Path | None) -> None:
        """Write a file of an earlier version anew, once, if that takes no longer than a start may.

        Until then its free pages are used again, but the file does not become smaller.
        """
        connection = self._connection
        page = _number(connection, "page_size")
        used = page * (_number(connection, "page_count") - _number(connection, "freelist_count"))
        if path is None or _number(connection, "auto_vacuum") == _INCREMENTAL or used > _REWRITTEN_BYTES:
            return
        try:
            if shutil.disk_usage(path.parent).free < _ROOM * used:
                return
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except (OSError, sqlite3.Error):
            # It is as it was, and the next start tries again: no reason not to serve.
            return

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One durable, atomic step."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A consistent look at the data."""
        with self._lock:
            yield self._connection


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
