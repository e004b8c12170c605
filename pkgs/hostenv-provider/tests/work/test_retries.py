"""A job that cannot fetch its project is tried again, in nobody's way, and is never green on what is old."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hostenv_core.states import JobState
from hostenv_provider.config import Config
from hostenv_provider.rules.jobs import Request
from hostenv_provider.rules.queue import FETCH_FOR, pause
from hostenv_provider.store import database
from hostenv_provider.store.store import Store
from provider_support import PROJECT, Machine

WORDS = "git+https://git.example.org/demo.git: `git ls-remote`: fatal: unable to access: error: 500"


@pytest.fixture
def machine(new_provider: Path, config: Config, clock: Any) -> Machine:
    return Machine.copy(new_provider, config, clock)


def test_pauses_grow_and_end() -> None:
    assert [pause(attempts, 0) for attempts in range(1, 9)] == [10, 20, 40, 80, 160, 300, 300, 300]
    assert pause(3, FETCH_FOR - 1) is not None
    assert pause(3, FETCH_FOR) is None


def test_a_host_that_is_back_gets_its_commit_deployed(machine: Machine, clock: Any) -> None:
    machine.projects.unreachable = WORDS
    job = machine.run()

    assert machine.state(job) is JobState.QUEUED
    recorded = machine.store.job(job)
    assert recorded is not None
    assert (recorded.obstacle, recorded.not_before) == (WORDS, "2026-03-01T00:00:10.000000Z")
    assert recorded.stage is None
    assert machine.store.waits_for(recorded) == f"the next attempt at 2026-03-01T00:00:10Z, since {WORDS}"
    clock.move(9)
    machine.work()
    assert machine.projects.updates == 1, "before its time nothing is asked"

    machine.projects.unreachable = None
    clock.move(1)
    machine.work()
    assert machine.state(job) is JobState.WAITING
    assert machine.projects.mirrored


def test_a_host_that_stays_away_fails_the_job_in_gits_words(machine: Machine, clock: Any) -> None:
    machine.finish(machine.run())
    machine.projects.unreachable = WORDS
    job = machine.run()
    while machine.state(job) is JobState.QUEUED:
        clock.move(10)
        machine.work()

    assert machine.state(job) is JobState.FAILED
    assert machine.reason(job) == f"update_flake: {WORDS} (tried 11 times in 30 min)"
    assert machine.projects.updates == 1 + 11


def test_a_job_that_is_tried_later_is_in_nobodys_way(machine: Machine) -> None:
    machine.projects.unreachable = WORDS
    job = machine.run()
    other = machine.store.enqueue(Request("demo__other", None)).job_id

    taken = machine.store.take_next()

    assert taken is not None
    assert (taken.job_id, machine.state(job)) == (other, JobState.QUEUED)


def test_a_new_push_is_tried_at_once_and_takes_the_old_ones_place(machine: Machine) -> None:
    machine.projects.unreachable = WORDS
    old = machine.run(Request(PROJECT, frozenset({"main"})))
    machine.projects.unreachable = None

    new = machine.run(Request(PROJECT, frozenset({"staging"})))

    assert machine.state(old) is JobState.SUPERSEDED
    assert machine.state(new) is JobState.WAITING
    recorded = machine.store.job(new)
    assert recorded is not None
    assert recorded.request.refs == {"main", "staging"}


def test_attempts_outlive_a_restart(machine: Machine, clock: Any) -> None:
    machine.projects.unreachable = WORDS
    job = machine.run()
    for _ in range(3):
        machine.store.close()
        machine = Machine.start(machine.config, machine.projects, clock)
        clock.move(FETCH_FOR / 3)
        machine.work()

    assert machine.reason(job).endswith("(tried 4 times in 30 min)")


def test_a_database_of_the_version_before_is_brought_to_this_one(tmp_path: Path) -> None:
    path = tmp_path / "provider.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.executescript(database._TABLES)
        connection.execute(
            "INSERT INTO jobs (id, project, request, state, created_at, progress_at) VALUES"
            ' (\'x\', \'a__b\', \'{"project": "a__b", "refs": null, "placements": {},'
            " \"migrationSources\": {}, \"skipMigrations\": [], \"rollbacks\": {}}', 'queued', '1', '1')"
        )
        connection.execute("PRAGMA user_version = 1")
    connection.close()

    for _ in range(2):
        store = Store(path)
        taken = store.take_next()
        store.recover()
        store.close()
        assert taken is not None
        assert (taken.job_id, taken.obstacle, taken.not_before) == ("x", None, None)
