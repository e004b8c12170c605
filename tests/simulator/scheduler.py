"""Programs that run one at a time and may be left, or killed, wherever they touch their surroundings.

Each program runs in a thread of its own, but only one thread has the baton. So the product's ordinary
blocking code runs unchanged, and the same random numbers give the same schedule.
"""

import random
import threading
from _thread import LockType, allocate_lock
from collections.abc import Callable


class Killed(BaseException):
    """The program is no more (kill -9, power off); nothing of the product catches this."""


class Task:
    """One run of a program."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self.name = name
        self.work = work
        self.done = False
        self.killed = False
        self.error: BaseException | None = None
        self.thread: _Thread | None = None


class _Thread:
    """A thread that runs task after task, for threads are dear to make."""

    def __init__(self) -> None:
        self.task: Task | None = None
        self.go: LockType = allocate_lock()
        self.back: LockType = allocate_lock()
        self.go.acquire()
        self.back.acquire()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            self.go.acquire()
            task = self.task
            assert task is not None
            try:
                if not task.killed:
                    task.work()
            except Killed:
                pass
            except BaseException as error:
                task.error = error
            task.done = True
            self.back.release()


_idle: list[_Thread] = []


class Scheduler:
    """Passes the baton: `resume` gives it to a task, `point` may give it back."""

    def __init__(self, rng: random.Random, preemption: float) -> None:
        self._random = rng.random
        self.preemption = preemption
        """How likely a task is left at a point, 0 to 1."""
        self.current: Task | None = None

    def resume(self, task: Task) -> None:
        """Let a task go on to the next point where it is left, or to its end; raises what it raised."""
        assert self.current is None
        assert not task.done
        if task.thread is None:
            task.thread = _idle.pop() if _idle else _Thread()
            task.thread.task = task
        thread = task.thread
        self.current = task
        thread.go.release()
        thread.back.acquire()
        self.current = None
        if task.done:
            thread.task = None
            _idle.append(thread)
            if task.error is not None:
                raise task.error

    def kill(self, task: Task) -> None:
        """End a task where it is."""
        task.killed = True
        if task.thread is None:
            task.done = True
        else:
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
            thread = task.thread
            assert thread is not None
            thread.back.release()
            thread.go.acquire()
            if task.killed:
                raise Killed
