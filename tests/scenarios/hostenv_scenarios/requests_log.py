"""What a visitor's log says about accepted writes and about the time without an answer. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Request:
    """One request of a visitor (`programs/visitor.py`); `note` is None for a read."""

    at: float
    node: str
    note: str | None
    status: int | None

    @property
    def ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def parse(text: str) -> list[Request]:
    """The requests of a log, in the order in which they ended."""
    values = [json.loads(line) for line in text.splitlines()]
    requests = [Request(value["at"], value["node"], value["note"], value["status"]) for value in values]
    return sorted(requests, key=lambda request: request.at)


def longest_gap(requests: Sequence[Request], writes: bool) -> float:
    """The longest time in seconds without a successful read (or write), the log's ends included."""
    if not requests:
        return 0.0
    good = [each.at for each in requests if each.ok and (each.note is not None) == writes]
    times = [requests[0].at, *good, requests[-1].at]
    return max(after - before for before, after in pairwise(times))


@dataclass(frozen=True)
class Notes:
    """The notes that a database must hold and those that it must not; nothing is known about others."""

    accepted: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()

    def with_requests(self, requests: Iterable[Request]) -> "Notes":
        """Together with what a log says: 2xx accepts, 503 refuses (contract 8)."""
        writes = [each for each in requests if each.note is not None]
        return Notes(
            self.accepted | {each.note for each in writes if each.note and each.ok},
            self.refused | {each.note for each in writes if each.note and each.status == 503},
        )


@dataclass(frozen=True)
class Difference:
    """What is wrong with a database's notes."""

    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    refused_but_there: tuple[str, ...]

    @property
    def nothing(self) -> bool:
        return not (self.lost or self.doubled or self.refused_but_there)


def compare(expected: Notes, found: Mapping[str, int]) -> Difference:
    """`found` has the number of rows of each note."""
    return Difference(
        lost=tuple(sorted(expected.accepted - set(found))),
        doubled=tuple(sorted(note for note, count in found.items() if count > 1)),
        refused_but_there=tuple(sorted(expected.refused & set(found))),
    )
