"""What goes wrong, and when: one source of chance for a whole schedule."""

import random
from collections.abc import Callable, Mapping

from simulator.scheduler import Scheduler, Task

RATES: Mapping[str, float] = {
    "git": 0.02,
    "nix": 0.02,
    "host": 0.02,
    "check": 0.25,
    "patience": 0.2,
    "operation": 0.08,
    "removal": 0.2,
    "round": 0.1,
    "time-out": 0.25,
    "switch": 0.04,
    "message": 0.05,
    "answer": 0.05,
    "late": 0.5,
    "silence": 0.02,
}
"""How likely each fault is where it can happen."""


class Faults:
    """Chance, the moments at which programs may be left or killed, and the log of what happened."""

    def __init__(self, seed: int, log: Callable[[str], None]) -> None:
        self.random = random.Random(seed)
        self.scheduler = Scheduler(self.random, preemption=self.random.choice((0.05, 0.15, 0.4)))
        severity = self.random.choice((0.0, 0.7, 1.5, 3.0))
        self._rates = {kind: rate * severity for kind, rate in RATES.items()}
        self.active = True
        self.log = log

    def point(self) -> None:
        """A moment at which anything may happen elsewhere."""
        self.scheduler.point()

    def leave(self) -> None:
        """A moment at which a program waits."""
        self.scheduler.point(leave=True)

    def kill(self, task: Task) -> None:
        self.log(f"kill {task.name}")
        self.scheduler.kill(task)

    def happens(self, kind: str) -> bool:
        """Whether a fault of this kind happens now."""
        return self.active and self.random.random() < self._rates[kind]

    def choose(self, number: int) -> int:
        """One of so many."""
        return int(self.random.random() * number)
