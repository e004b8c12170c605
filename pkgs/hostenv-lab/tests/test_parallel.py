"""Threads that end together, and work that signals do not cut."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from hostenv_lab.parallel import in_parallel, undisturbed


def test_every_item_is_tried_and_failures_are_named() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 2:
            raise ValueError("two")
        done.append(item)

    failed = in_parallel(work, [1, 2, 3])
    assert sorted(done) == [1, 3]
    assert [(item, str(error)) for item, error in failed] == [(2, "two")]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell lets what it starts in the background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_waits_for_all_of_them() -> None:
    ended = threading.Event()
    limit = time.monotonic() + 30

    def work(_item: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        # the second one comes while the first is being obeyed
        while signal.getsignal(signal.SIGINT) is signal.default_int_handler and time.monotonic() < limit:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        in_parallel(work, [1])
    assert ended.is_set()


def test_nothing_cuts_what_must_end() -> None:
    before = signal.getsignal(signal.SIGTERM)
    reached = False
    with undisturbed():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        reached = True
    assert reached
    assert signal.getsignal(signal.SIGTERM) == before
