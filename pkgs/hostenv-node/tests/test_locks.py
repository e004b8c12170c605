"""Locks have one order, slots are limited and fair, and a process that is killed leaves nothing locked."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hostenv_core.locks import locked, locked_if_free
from hostenv_node import locks
from hostenv_node.config import Config

# Holds what its arguments name, says so, and then does nothing more.
HOLDER = """
import sys, time
from contextlib import ExitStack
from pathlib import Path
from hostenv_node import locks
from hostenv_node.config import Config
config = Config.load(Path(sys.argv[1]), {})
with ExitStack() as stack:
    stack.enter_context(eval(sys.argv[2], {"locks": locks, "config": config}))
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def config(configure: Callable[..., Config]) -> Config:
    return replace(configure(), parallel_jobs=2)


@contextmanager
def process_that_holds(what: str, node_json: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(node_json), what],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


def nobody() -> None:
    pytest.fail("it waited")


def test_a_lock_that_comes_too_late_in_the_order_is_refused(config: Config) -> None:
    with locks.front_door(config), pytest.raises(RuntimeError, match=r"ACCOUNTS .* FRONT_DOOR is held"):
        locks.accounts(config).__enter__()
    with locks.copy(config, "demo__shop"), pytest.raises(RuntimeError, match="COPY"):
        locks.copy(config, "demo__blog").__enter__()
    with locks.activation(config), locks.switch(config), locks.accounts(config), locks.front_door(config):
        pass


def test_what_jobs_of_one_node_take_is_in_order(config: Config) -> None:
    with locks.job(config, "job"), locks.slot(config, nobody), locks.copy(config, "demo__shop"):
        with locks.accounts(config):
            pass
        with locks.front_door(config):
            pass


def test_so_many_jobs_have_a_slot_and_the_next_one_says_that_it_waits(config: Config) -> None:
    slots = [config.locks_dir / f"slot-{number}.lock" for number in range(3)]
    waited = []
    with ExitStack() as others:
        for path in slots[:2]:
            others.enter_context(locked(path))
        with locks.slot(config, lambda: (waited.append(True), others.close())[0]):
            assert waited == [True]
            with locked_if_free(slots[2]) as free:
                assert free, "there are two slots"
    with locks.slot(config, nobody):
        pass


def test_who_comes_later_does_not_overtake_who_waits_for_a_slot(config: Config) -> None:
    with ExitStack() as first:
        first.enter_context(locked(config.locks_dir / "queue.lock"))
        waited = []
        with locks.slot(config, lambda: (waited.append(True), first.close())[0]):
            pass
    assert waited == [True], "a slot was free all the time, but somebody was before it"


@pytest.mark.parametrize(
    ("what", "path"),
    [
        ("locks.slot(config, lambda: None)", "slot-0.lock"),
        ("locks.job(config, 'job')", "job-job.lock"),
        ("locks.copy(config, 'demo__shop')", "copy-demo__shop.lock"),
        ("locks.accounts(config)", "accounts.lock"),
        ("locks.front_door(config)", "../front-door.lock"),
        ("locks.switch(config)", "../switch.lock"),
        ("locks.activation(config)", "../lock"),
    ],
)
def test_a_process_that_is_killed_leaves_nothing_locked(
    config: Config, tmp_path: Path, what: str, path: str
) -> None:
    with process_that_holds(what, tmp_path / "node.json") as process:
        with locked_if_free(config.locks_dir / path) as free:
            assert not free
        process.send_signal(signal.SIGKILL)
        process.wait()
        with locked_if_free(config.locks_dir / path) as free:
            assert free


def test_locks_of_closed_jobs_do_not_stay(config: Config) -> None:
    for job in ("open", "closed"):
        with locks.job(config, job), locks.slot(config, nobody):
            pass
    locks.forget_jobs(config, {"open"})
    assert sorted(path.name for path in config.locks_dir.iterdir()) == [
        "job-open.lock",
        "queue.lock",
        "slot-0.lock",
    ]
