"""What the store removes, and what it must keep, on a real database (contract 5, memory)."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from hostenv_core.states import JobState, Status
from hostenv_provider.plan.plan import Environment
from hostenv_provider.rules.jobs import Request
from hostenv_provider.rules.retention import JOBS_KEPT, Retention
from hostenv_provider.rules.stored import Delivery, Enqueued
from hostenv_provider.store import database
from hostenv_provider.store.database import Database
from hostenv_provider.store.pruning import START
from hostenv_provider.store.store import Store
from provider_support import make_earlier

MakeEnvironment = Callable[..., Environment]
PROJECT = "demo__drupal"
NODES = frozenset({"node-a", "node-b"})
RETENTION = Retention(jobs=90, deliveries=30)
DAY = 24 * 3600.0


def sweep(store: Store, retention: Retention = RETENTION) -> list[str]:
    """A whole round, as the housekeeper makes it."""
    while store.remove_deliveries(retention):
        pass
    removed: list[str] = []
    place = START
    while True:
        batch = store.remove_jobs(retention, NODES, place)
        removed += batch.removed
        if batch.place is None:
            return removed
        place = batch.place


def push(provider: Any, environment: Environment, state: Status = Status.SUCCESS) -> str:
    """A job from its push to its end."""
    job = str(provider.deploy(environment))
    if state is Status.SUCCESS:
        provider.finish(job, [environment], environment.node)
    else:
        provider.store.fail(job, "disk full")
    return job


def pass_time(provider: Any, days: float, opened: tuple[str, ...] = ()) -> None:
    """The nodes say what they have open when the days are over."""
    provider.clock.move(days * DAY)
    for node in NODES:
        provider.store.hear_open_jobs(node, opened)


def rows_of(path: Path, job: str) -> int:
    """How many rows of any table have a job's id."""
    with closing(sqlite3.connect(path)) as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return sum(
            sum(job in map(str, row) for row in db.execute(f"SELECT * FROM {table}")) for table in tables
        )


def test_an_old_job_goes_with_all_its_rows(provider: Any, environment: MakeEnvironment) -> None:
    jobs = [push(provider, environment(rev=f"{number:040x}")) for number in range(JOBS_KEPT + 3)]
    pass_time(provider, 89)
    assert sweep(provider.store) == []
    pass_time(provider, 2)
    assert sweep(provider.store) == jobs[:3]
    assert [rows_of(provider.path, job) for job in jobs[:3]] == [0, 0, 0]
    assert all(rows_of(provider.path, job) for job in jobs[3:])
    assert sweep(provider.store) == []


def test_what_is_deployed_keeps_its_job_and_its_way_back(provider: Any, environment: MakeEnvironment) -> None:
    user = environment().user_name
    push(provider, environment(rev="1" * 40))
    deployed = push(provider, environment(rev="2" * 40))
    others = [push(provider, environment(rev="3" * 40), Status.FAILED) for _ in range(JOBS_KEPT + 5)]
    pass_time(provider, 91)
    removed = sweep(provider.store)
    assert deployed not in removed
    assert set(others[:5]) <= set(removed)
    found = provider.store.deployment(user)
    assert (found.node, found.previous_source["rev"]) == ("node-a", "1" * 40)


def test_a_job_stays_until_its_nodes_have_closed_it(provider: Any, environment: MakeEnvironment) -> None:
    store = provider.store
    job = push(provider, environment(), Status.FAILED)
    for _ in range(JOBS_KEPT):
        push(provider, environment(), Status.FAILED)
    provider.clock.move(91 * DAY)
    assert sweep(store) == [], "no node has said anything yet"
    store.hear_open_jobs("node-a", [job, "of-somebody-else"])
    assert sweep(store) == []
    assert store.snapshot(job).state is JobState.FAILED
    store.hear_open_jobs("node-a", [])
    assert sweep(store) == [job]


def test_a_node_that_is_away_finds_its_verdict_when_it_comes_back(
    provider: Any, environment: MakeEnvironment
) -> None:
    store = provider.store
    store.hear_open_jobs("node-a", [])
    job = push(provider, environment(), Status.FAILED)
    for _ in range(JOBS_KEPT):
        push(provider, environment(), Status.FAILED)
    provider.clock.move(365 * DAY)
    assert sweep(store) == []
    store.hear_open_jobs("node-a", [job])
    assert sweep(store) == []


def test_a_delivery_keeps_the_job_that_it_started_and_what_took_its_place(provider: Any) -> None:
    store = provider.store
    delivery = Delivery("hash", "id")
    first = store.enqueue(Request(PROJECT), delivery).job_id
    for _ in range(JOBS_KEPT + 5):
        last = store.enqueue(Request(PROJECT)).job_id
    store.take_next()
    store.succeed(last, None)
    pass_time(provider, 20)
    short = Retention(jobs=1, deliveries=30)
    assert sweep(store, short) == [], "the chain from the delivery to its last job is whole"
    assert store.enqueue(Request(PROJECT), delivery) == Enqueued(first, created=False)
    pass_time(provider, 11)
    assert len(sweep(store, short)) == 6
    assert store.job(first) is None
    assert store.enqueue(Request(PROJECT), delivery).created


def test_a_waiting_job_of_any_age_stays(provider: Any, environment: MakeEnvironment) -> None:
    waiting = provider.deploy(environment(project="shop"))
    for _ in range(JOBS_KEPT + 1):
        last = provider.store.enqueue(Request("demo__shop")).job_id
    pass_time(provider, 400)
    assert waiting not in sweep(provider.store)
    assert provider.state(waiting) is JobState.WAITING
    assert provider.state(last) is JobState.QUEUED


def test_no_request_goes_through_a_projects_past(provider: Any, environment: MakeEnvironment) -> None:
    def cost() -> int:
        """How much SQLite does for a job and for a node that reads its project's source."""
        calls = 0

        def count() -> int:
            nonlocal calls
            calls += 1
            return 0

        with provider.store._database.reading() as db:
            db.set_progress_handler(count, 10)
            job = provider.deploy(environment())
            assert provider.store.may_read_source("node-a", PROJECT)
            assert not provider.store.may_read_source("node-b", PROJECT)
            provider.store.fail(job, "end")
            db.set_progress_handler(None, 0)
        return calls

    before = cost()
    with provider.store._database.transaction() as db:
        db.executemany(
            "INSERT INTO jobs (id, project, request, state, created_at, progress_at, finished_at, position)"
            " VALUES (?, ?, '{}', 'succeeded', '', '', '', ?)",
            [(f"old-{number}", PROJECT, number) for number in range(1000)],
        )
    assert cost() < 1.5 * before


def test_a_file_becomes_smaller_in_steps(tmp_path: Path) -> None:
    database = Database(tmp_path / "provider.sqlite3")
    with database.transaction() as db:
        db.execute("CREATE TABLE filler (content BLOB)")
        db.execute("INSERT INTO filler VALUES (zeroblob(20000000))")
    with database.transaction() as db:
        db.execute("DELETE FROM filler")
    steps = 0
    while database.shrink():
        steps += 1
    assert steps > 10
    database.close()
    assert 1_000_000 < (tmp_path / "provider.sqlite3").stat().st_size < 6_000_000


def test_a_file_of_an_earlier_version_is_written_anew_and_can_shrink(
    provider: Any, environment: MakeEnvironment
) -> None:
    job = push(provider, environment())
    provider.store.enqueue(Request(PROJECT), Delivery("hash", "id"))
    provider.store.close()
    make_earlier(provider.path, database._RETENTION)
    with closing(sqlite3.connect(provider.path)) as db:
        assert db.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    provider.reopen()
    assert provider.state(job) is JobState.SUCCEEDED
    with closing(sqlite3.connect(provider.path)) as db:
        assert db.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        assert db.execute("SELECT created_at FROM deliveries").fetchall() == [
            ("2026-03-01T00:00:00.000000Z",)
        ]
