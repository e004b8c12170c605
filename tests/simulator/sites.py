"""Environments on the disks of nodes: what serves, what takes writes, and which rows a copy holds.

Rows are bits of an integer. All of this survives a crash; a node that is off serves nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum


class Phase(Enum):
    """What runs of a copy."""

    ABSENT = "absent"
    INACTIVE = "inactive"
    RESTORED = "restored"
    ACTIVE = "active"


@dataclass(frozen=True)
class Changes:
    """What one archive of a live move holds: the rows since the one before, and all that there are then."""

    rows: int
    all_rows: int


@dataclass
class Rounds:
    """What a copy has sent, or taken in, of a live move; each base begins them anew."""

    base: int = 0
    """The rows that there were before the base was made."""
    deltas: list[Changes] = field(default_factory=list)
    """The archives that were made while the site was live."""
    rest: Changes | None = None
    """The archive after them, of what is frozen."""
    taken: list[str] = field(default_factory=list)
    """The names of the archives that were taken in."""


@dataclass
class Copy:
    """One environment on one node."""

    phase: Phase = Phase.ABSENT
    job: str = ""
    rows: int = 0
    frozen_by: str | None = None
    release: str = ""
    previous: str | None = None
    """The release before a reload that is not verified."""
    snapshot: str | None = None
    """Of the backup that `job` made."""
    restored: tuple[str, str] | None = None
    """Job and snapshot of the last complete restore."""
    rounds: Rounds = field(default_factory=Rounds)


class Broken(BaseException):
    """An invariant does not hold; no program of the product catches this."""


class TwoWriters(Broken):
    """Two nodes take writes for one environment at one moment."""


@dataclass
class Sites:
    """The copies on all nodes, and who may write to them."""

    is_up: Callable[[str], bool]
    copies: dict[str, dict[str, Copy]] = field(default_factory=dict)
    """By user and node."""
    accepted: dict[str, int] = field(default_factory=dict)
    """The rows that were answered with success and that nobody has given up."""
    snapshots: dict[str, int] = field(default_factory=dict)
    """The backup server's, with their rows."""
    written: int = 0

    def copy(self, node: str, user: str) -> Copy:
        return self.copies.setdefault(user, {}).setdefault(node, Copy())

    def writable(self, user: str) -> list[str]:
        """The nodes that take writes for the environment."""
        return [
            node
            for node, copy in self.copies.get(user, {}).items()
            if copy.phase is Phase.ACTIVE and copy.frozen_by is None and self.is_up(node)
        ]

    def check(self, user: str) -> None:
        """Raises TwoWriters."""
        nodes = self.writable(user)
        if len(nodes) > 1:
            raise TwoWriters(f"{user} takes writes on {' and '.join(sorted(nodes))}")

    def give_up(self, user: str, node: str) -> None:
        """By an operator's word, what counts from now on is what the copy on `node` has."""
        self.accepted[user] = self.accepted.get(user, 0) & self.copy(node, user).rows

    def write(self, user: str) -> str | None:
        """A visitor posts a row; returns the node that took it."""
        for node in self.writable(user):
            row = 1 << self.written
            self.written += 1
            self.copies[user][node].rows |= row
            self.accepted[user] = self.accepted.get(user, 0) | row
            return node
        return None
