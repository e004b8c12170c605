"""What a node has to do with an environment, what of its secrets and backups it may have, and what it got."""

import sqlite3
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from hostenv_core.names import PROVIDER_NODE
from hostenv_core.states import FINAL, JobState

from hostenv_provider.store.database import Database
from hostenv_provider.store.queries import Queries
from hostenv_provider.store.writing import time_text

_MOVES = frozenset({"backup", "restore"})


@dataclass(frozen=True)
class Part:
    """A node's part in an environment: whether it is deployed there, and the node's open operations on it.

    The check of what a node has activated counts as the node's own operation too. `ending` is whether its
    account of the backups is to be replaced, and is kept only for what is under way.
    """

    hosts: bool = False
    operations: frozenset[str] = frozenset()
    ending: bool = False

    @property
    def gets_secrets(self) -> bool:
        """A node that only has to stop its copy needs none."""
        return self.hosts or bool(self.operations - {"deactivate"})

    @property
    def keeps_account(self) -> bool:
        """Whether its account of the backups and its key stay."""
        return bool(self.operations & _MOVES) if self.ending else self.gets_secrets

    @property
    def reads_backups(self) -> bool:
        """Whether it may read the environment's backups, and say so with a lock."""
        return self.keeps_account and (self.hosts or bool(self.operations & _MOVES))

    @property
    def writes_backups(self) -> bool:
        """Whether it may add to the environment's backups; a former node may not from the commit point on."""
        return self.keeps_account and (self.hosts or "backup" in self.operations)


@dataclass(frozen=True)
class Holding:
    """An environment whose secrets a node was given, with the first and the last time (ISO-8601 UTC)."""

    user: str
    first_at: str
    last_at: str


class Holdings(Queries):
    """Each method is one transaction, as those of `store.store.Store`."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        super().__init__(database)
        self._clock = clock

    def part(self, node: str, user: str) -> Part:
        """What a node has to do with an environment now."""
        with self._database.reading() as db:
            return _part(db, node, user)

    def holdings(self, node: str) -> list[Holding]:
        """What a node was ever given, by environment."""
        with self._database.reading() as db:
            rows = db.execute("SELECT * FROM handed_out WHERE node = ? ORDER BY user", (node,)).fetchall()
        return [Holding(row["user"], row["first_at"], row["last_at"]) for row in rows]

    def hand_out(self, node: str, user: str) -> list[str] | None:
        """Record that a node gets an environment's secrets; None if it may not.

        Returns the nodes whose account of its backups must be good before the node is answered: its own and,
        so that a frozen site need not wait for it, those that are to restore what it backs up.
        """
        now = time_text(self._clock())
        with self._database.transaction() as db:
            part = _part(db, node, user)
            if not part.gets_secrets:
                return None
            nodes = sorted({node, *(_restoring(db, user) if "backup" in part.operations else ())})
            db.execute(
                "INSERT INTO handed_out (node, user, first_at, last_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (node, user) DO UPDATE SET last_at = excluded.last_at"
                " WHERE last_at <> excluded.last_at",
                (node, user, now, now),
            )
            db.executemany(
                "INSERT OR IGNORE INTO backup_accounts (node, user) VALUES (?, ?)",
                [(each, user) for each in nodes],
            )
        return nodes

    def renew_account(self, node: str, user: str) -> None:
        """The node has a new account of the environment's backups, instead of any that ends."""
        with self._database.transaction() as db:
            db.execute("INSERT OR REPLACE INTO backup_accounts (node, user) VALUES (?, ?)", (node, user))

    def replace_accounts(self) -> int:
        """All accounts of backups end, each once nothing is under way with it; returns how many there are."""
        with self._database.transaction() as db:
            return db.execute("UPDATE backup_accounts SET ending = 1").rowcount

    def accounts(self, node: str | None = None) -> list[tuple[str, str]]:
        """Node and user of all accounts of backups, or of one node's."""
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT node, user FROM backup_accounts WHERE node = ? OR ? IS NULL ORDER BY user, node",
                (node, node),
            ).fetchall()
        return [(row["node"], row["user"]) for row in rows]

    def former_accounts(self, user: str | None = None) -> list[tuple[str, str]]:
        """Node and user of the accounts that nothing needs any more, of all environments or of one."""
        narrowed, parameters = _of_user(user)
        with self._database.reading() as db:
            rows = db.execute(
                f"SELECT node, user FROM backup_accounts WHERE TRUE{narrowed} ORDER BY user, node", parameters
            ).fetchall()
            parts = _parts(db, user)
        accounts = [(row["node"], row["user"]) for row in rows]
        return [account for account in accounts if not parts.get(account, Part()).keeps_account]

    def moving(self) -> frozenset[str]:
        """The environments whose data are on their way."""
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT DISTINCT user FROM actions JOIN jobs ON jobs.id = actions.job"
                " WHERE jobs.state = ? AND op IN ('backup', 'restore') AND actions.status NOT IN (?, ?, ?)",
                (JobState.WAITING, *sorted(FINAL)),
            ).fetchall()
        return frozenset(row["user"] for row in rows)

    def forget_account(self, node: str, user: str) -> None:
        """The node's account of the environment's backups is gone."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM backup_accounts WHERE node = ? AND user = ?", (node, user))


def _part(db: sqlite3.Connection, node: str, user: str) -> Part:
    return _parts(db, user).get((node, user), Part())


def _parts(db: sqlite3.Connection, user: str | None) -> dict[tuple[str, str], Part]:
    """The parts that nodes have in all environments or in one, by node and user."""
    narrowed, parameters = _of_user(user)
    hosts = {
        tuple(row) for row in db.execute(f"SELECT node, user FROM deployed WHERE TRUE{narrowed}", parameters)
    }
    ending = {
        tuple(row)
        for row in db.execute(f"SELECT node, user FROM backup_accounts WHERE ending{narrowed}", parameters)
    }
    operations: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for row in db.execute(
        "SELECT actions.node, to_node, user, op FROM actions JOIN jobs ON jobs.id = actions.job"
        f" WHERE jobs.state = ? AND actions.status NOT IN (?, ?, ?){narrowed}",
        (JobState.WAITING, *sorted(FINAL), *parameters),
    ):
        # The service's own check is a part of the node that it looks at.
        node = row["to_node"] if row["node"] == PROVIDER_NODE else row["node"]
        operations[node, row["user"]].add(row["op"])
    return {
        each: Part(each in hosts, frozenset(operations.get(each, ())), each in ending)
        for each in {*hosts, *ending, *operations}
    }


def _of_user(user: str | None) -> tuple[str, tuple[str, ...]]:
    """The end of a condition that leaves one environment's rows, or all, and its parameters."""
    return ("", ()) if user is None else (" AND user = ?", (user,))


def _restoring(db: sqlite3.Connection, user: str) -> list[str]:
    """The nodes that are to restore the environment's next backup."""
    rows = db.execute(
        "SELECT DISTINCT node FROM actions JOIN jobs ON jobs.id = actions.job"
        " WHERE jobs.state = ? AND user = ? AND op = 'restore' AND actions.status NOT IN (?, ?, ?)",
        (JobState.WAITING, user, *sorted(FINAL)),
    )
    return [str(row["node"]) for row in rows]
