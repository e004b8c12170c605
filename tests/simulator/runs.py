"""Schedules by their seed, and what became of many of them."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from simulator.sites import Broken
from simulator.world import World

EVENTS = 250
"""How many things happen in a schedule before the faults end."""


@dataclass(frozen=True)
class Result:
    """What became of one schedule; `failure` says which invariant does not hold, `lines` is the trace."""

    failure: str | None
    lines: list[str]
    counts: Counter[str]


@dataclass
class Tally:
    """What became of many."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)


def run(seed: int, *, trace: bool = False) -> Result:
    """Run one schedule."""
    world = World(seed, trace=trace)
    failure = None
    try:
        world.run(EVENTS)
    except Broken as broken:
        failure = str(broken)
    return Result(failure, world.lines, world.counts())


def run_range(first: int, count: int) -> Tally:
    """Run the schedules from seed `first` on."""
    tally = Tally()
    with on_one_processor():
        for seed in range(first, first + count):
            result = run(seed)
            tally.counts += result.counts
            if result.failure is not None:
                tally.counts["schedules failed"] += 1
                tally.failures.append((seed, result.failure))
    return tally


@contextmanager
def on_one_processor() -> Iterator[None]:
    """Threads that only pass a baton do so twice as fast where they need not wake another processor."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(allowed)[os.getpid() % len(allowed)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
