"""Programs that run one at a time and may be left, or killed, wherever they touch their surroundings.

Each program runs in a greenlet of its own. So the product's ordinary blocking code runs unchanged, and the
same random numbers give the same schedule.
"""

import random
from collections.abc import Callable

from greenlet import getcurrent, greenlet


class Killed(BaseException):
    """The program is no more (kill -9, power off); nothing of the product catches this."""


class Task:
    """One run of a program."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self.name = name
        self.killed = False
        self._work = work
        self.program = greenlet(self._run)

    @property
    def done(self) -> bool:
        """Whether it has come to its end."""
        return bool(self.program.dead)

    def _run(self) -> None:
        try:
            if not self.killed:
                self._work()
        except Killed:
            pass


class Scheduler:
    """`resume` lets a task run, `point` may leave it."""

    def __init__(self, rng: random.Random, preemption: float) -> None:
        self._random = rng.random
        self.preemption = preemption
        """How likely a task is left at a point, 0 to 1."""
        self.current: Task | None = None

    def resume(self, task: Task) -> None:
        """Let a task go on to the next point where it is left, or to its end; raises what it raised."""
        assert self.current is None
        assert not task.done
        self.current = task
        # A program that another one started would otherwise come back there.
        task.program.parent = getcurrent()
        try:
            task.program.switch()
        finally:
            self.current = None

    def kill(self, task: Task) -> None:
        """End a task where it is."""
        task.killed = True
        while not task.done:
            self.resume(task)

    def point(self, *, leave: bool = False) -> None:
        """A moment at which other programs may go on, or this one may die; outside of tasks, nothing."""
        task = self.current
        if task is None:
            return
        if task.killed:
            raise Killed
        if leave or self._random() < self.preemption:
            task.program.parent.switch()
            if task.killed:
                raise Killed
