"""Restarts: what was acknowledged outlives a crash, and half of a change is never there."""

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hostenv_core.errors import HostenvError
from hostenv_core.states import JobState, Status
from hostenv_provider.plan.plan import Environment
from hostenv_provider.rules.jobs import Request
from hostenv_provider.store.database import Database
from hostenv_provider.store.store import Store

MakeEnvironment = Callable[..., Environment]
PROJECT = "demo__drupal"


def test_after_a_crash_running_jobs_are_queued_and_waiting_ones_go_on(
    provider: Any, environment: MakeEnvironment
) -> None:
    waiting = provider.deploy(environment(project="shop"))
    provider.post(waiting, "node-a", "activate", Status.RUNNING)
    running = provider.store.enqueue(Request(PROJECT, frozenset({"main"}))).job_id
    assert provider.store.take_next().job_id == running
    queued = provider.store.enqueue(Request(PROJECT, frozenset({"staging"}))).job_id
    provider.reopen()
    assert provider.state(waiting) is JobState.WAITING
    assert [job.job_id for job in provider.store.unpushed()] == [waiting]
    assert provider.state(running) is JobState.SUPERSEDED
    assert provider.store.take_next().job_id == queued
    assert provider.store.job(queued).request.refs == {"main", "staging"}
    provider.finish(waiting, [environment(project="shop")], "node-a")


def _post_until_killed(path: Path, acknowledged: Any) -> None:
    store = Store(path)
    number = 0
    while True:
        number += 1
        enqueued = store.enqueue(Request(f"demo__p{number}", None))
        acknowledged.send(enqueued.job_id)


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "provider.sqlite3"
    Store(path).close()
    receiving, sending = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_post_until_killed, args=(path, sending))
    process.start()
    sending.close()
    seen = [receiving.recv() for _ in range(25)]
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while True:
        try:
            seen.append(receiving.recv())
        except EOFError:
            break
    store = Store(path)
    store.recover()
    assert all(store.job(job_id) is not None for job_id in seen)


def test_every_commit_is_synchronised_to_the_disk(tmp_path: Path) -> None:
    with Database(tmp_path / "provider.sqlite3").reading() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_a_failed_transaction_leaves_no_trace(provider: Any, environment: MakeEnvironment) -> None:
    provider.store.enqueue(Request(PROJECT, None))
    job = provider.store.take_next()
    prepared = provider.wait(job.job_id, environment())
    provider.store.plan_again(job.job_id)
    provider.store.take_next()
    broken = replace(prepared, targets=prepared.targets * 2)
    with pytest.raises(sqlite3.IntegrityError):
        provider.store.start_waiting(job.job_id, broken)
    assert provider.state(job.job_id) is JobState.RUNNING
    assert provider.rows(job.job_id) == []


def test_a_file_that_is_no_database_or_newer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "provider.sqlite3"
    path.write_bytes(b"no database at all, but long enough to look at" * 40)
    with pytest.raises(HostenvError, match="not usable as a database"):
        Store(path)
    newer = tmp_path / "newer.sqlite3"
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(HostenvError, match="newer"):
        Store(newer)
