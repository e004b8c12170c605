"""The locks between this package's processes, and the one order in which a process takes them.

The kernel frees them however a process ends, so that one that is killed leaves nothing locked. A process
that holds one takes only later ones (`Order`), so that no two processes ever wait for each other. Those
after `SLOT` are held for moments, except `COPY`, for which only jobs of one project wait.
"""

import time
from collections.abc import Callable, Container, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from enum import IntEnum, auto
from pathlib import Path

from hostenv_core.locks import locked, locked_if_free

from hostenv_node.config import Config

_POLL_SECONDS = 0.2


class Order(IntEnum):
    """What each lock is for, in the order in which they are taken."""

    ACTIVATION = auto()
    """One activation takes in what comin and the provider have for this node."""
    JOB = auto()
    """One process works on a job."""
    QUEUE = auto()
    """Who waits for a slot first gets the next one."""
    SLOT = auto()
    """So many jobs work at once (`parallelJobs`); a job that waits for another node holds none."""
    COPY = auto()
    """Root's copy of a project's repository is fetched, read or removed."""
    SWITCH = auto()
    """A generation is taken over, by comin's switch or by the activation."""
    ACCOUNTS = auto()
    """An account is made, opened or closed."""
    FRONT_DOOR = auto()
    """The front door changes together with a record, or is made from the records."""


_held: list[Order] = []
"""By this process."""


def activation(config: Config) -> AbstractContextManager[bool]:
    """Take it if it is free; yields whether it was."""
    return _if_free(Order.ACTIVATION, config.state_dir / "lock")


def job(config: Config, job_id: str) -> AbstractContextManager[bool]:
    """Take it if it is free; yields whether it was."""
    return _if_free(Order.JOB, _of_job(config, job_id))


def forget_jobs(config: Config, open_jobs: Container[str]) -> None:
    """Remove the locks' files of jobs that are not open any more: nobody works on these again."""
    for path in config.locks_dir.glob("job-*.lock"):
        if path.stem.removeprefix("job-") not in open_jobs:
            path.unlink(missing_ok=True)


@contextmanager
def slot(config: Config, on_wait: Callable[[], None]) -> Iterator[None]:
    """One of the slots; calls `on_wait` before it waits for one."""
    with ExitStack() as stack:
        with _if_free(Order.QUEUE, _queue(config)) as first:
            found = first and _take_slot(config, stack)
        if not found:
            on_wait()
            with _waited_for(Order.QUEUE, _queue(config)):
                while not _take_slot(config, stack):
                    time.sleep(_POLL_SECONDS)
        yield


def copy(config: Config, mirror: str) -> AbstractContextManager[None]:
    """Of the project's repository with this name (`Environment.mirror`)."""
    return _waited_for(Order.COPY, _of_copy(config, mirror))


def copy_if_free(config: Config, mirror: str) -> AbstractContextManager[bool]:
    """Take the same if it is free; yields whether it was."""
    return _if_free(Order.COPY, _of_copy(config, mirror))


def switch(config: Config) -> AbstractContextManager[None]:
    """Waits for a switch under way."""
    return _waited_for(Order.SWITCH, config.state_dir / "switch.lock")


def accounts(config: Config) -> AbstractContextManager[None]:
    """Programs that change accounts give up when they meet for long."""
    return _waited_for(Order.ACCOUNTS, config.locks_dir / "accounts.lock")


def front_door(config: Config) -> AbstractContextManager[None]:
    """Whoever holds it sees the front door and the records agree."""
    return _waited_for(Order.FRONT_DOOR, config.state_dir / "front-door.lock")


def _queue(config: Config) -> Path:
    return config.locks_dir / "queue.lock"


def _of_job(config: Config, job_id: str) -> Path:
    return config.locks_dir / f"job-{job_id}.lock"


def _of_copy(config: Config, mirror: str) -> Path:
    return config.locks_dir / f"copy-{mirror}.lock"


def _take_slot(config: Config, stack: ExitStack) -> bool:
    for number in range(config.parallel_jobs):
        with ExitStack() as attempt:
            path = config.locks_dir / f"slot-{number}.lock"
            if attempt.enter_context(_if_free(Order.SLOT, path)):
                stack.push(attempt.pop_all())
                return True
    return False


@contextmanager
def _waited_for(order: Order, path: Path) -> Iterator[None]:
    with _in_order(order), locked(path):
        yield


@contextmanager
def _if_free(order: Order, path: Path) -> Iterator[bool]:
    with _in_order(order), locked_if_free(path) as free:
        yield free


@contextmanager
def _in_order(order: Order) -> Iterator[None]:
    """Raises RuntimeError for a lock that comes too late: with that, two processes could wait for ever."""
    later = [held.name for held in _held if held >= order]
    if later:
        raise RuntimeError(f"lock {order.name} was asked for while {', '.join(later)} is held")
    _held.append(order)
    try:
        yield
    finally:
        _held.remove(order)
