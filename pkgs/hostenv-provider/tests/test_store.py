"""Contract 5 and 7 on a real database: durability, superseding, the commit point, stale nodes, restarts."""

import json
import multiprocessing
import os
import signal
import sqlite3
import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hostenv_provider.database import Database
from hostenv_provider.errors import HostenvError
from hostenv_provider.jobs import Accepted, Conflict, Event, JobState, Repeated, Request, Status
from hostenv_provider.plan import Environment
from hostenv_provider.records import Delivery
from hostenv_provider.store import Store

MakeEnvironment = Callable[..., Environment]
PROJECT = "demo__drupal"


def placements(provider: Any) -> tuple[dict[str, str], dict[str, frozenset[str]]]:
    deployed = provider.store.deployed(PROJECT)
    return {user: each.node for user, each in deployed.items()}, provider.store.stale(PROJECT)


def test_a_move_commits_at_the_check_and_retires_the_source(
    provider: Any, environment: MakeEnvironment
) -> None:
    here, there = environment(node="node-a"), environment(node="node-b")
    user = here.user_name
    provider.finish(provider.deploy(here), [here], "node-a")
    assert placements(provider) == ({user: "node-a"}, {})
    job = provider.deploy(there)
    for node, op in (("node-a", "backup"), ("node-b", "restore"), ("node-b", "activate")):
        provider.post(job, node, op)
    assert placements(provider) == ({user: "node-a"}, {})
    provider.verify(job, user)
    assert placements(provider) == ({user: "node-b"}, {user: frozenset({"node-a"})})
    provider.post(job, "node-a", "deactivate")
    assert placements(provider) == ({user: "node-b"}, {})
    provider.post(job, "node-a", "intent")
    provider.post(job, "node-b", "intent")
    assert provider.state(job) is JobState.SUCCEEDED


def test_the_commit_point_is_all_or_nothing(provider: Any, environment: MakeEnvironment) -> None:
    here, there = environment(node="node-a"), environment(node="node-b")
    user = here.user_name
    provider.finish(provider.deploy(here), [here], "node-a")
    job = provider.deploy(there)
    for node, op in (("node-a", "backup"), ("node-b", "restore"), ("node-b", "activate")):
        provider.post(job, node, op)
    refuse = "BEFORE INSERT ON stale BEGIN SELECT RAISE(ABORT, 'no more'); END"
    with closing(sqlite3.connect(provider.path)) as other:
        other.execute(f"CREATE TRIGGER refuse {refuse}")
    with pytest.raises(sqlite3.IntegrityError, match="no more"):
        provider.verify(job, user)
    assert placements(provider) == ({user: "node-a"}, {})
    assert ("provider", "verify", "queued") in provider.rows(job)
    with closing(sqlite3.connect(provider.path)) as other:
        other.execute("DROP TRIGGER refuse")
    provider.verify(job, user)
    assert placements(provider) == ({user: "node-b"}, {user: frozenset({"node-a"})})


def test_deploying_the_deployed_again_needs_no_action(provider: Any, environment: MakeEnvironment) -> None:
    there = environment(node="node-b")
    provider.finish(provider.deploy(environment(node="node-a")), [there], "node-a")
    provider.finish(provider.deploy(there), [there], "node-a", "node-b")
    again = provider.deploy(there)
    assert provider.rows(again) == []


def test_a_failure_before_the_check_leaves_the_placement(provider: Any, environment: MakeEnvironment) -> None:
    here, there = environment(node="node-a"), environment(node="node-b")
    provider.finish(provider.deploy(here), [here], "node-a")
    job = provider.deploy(there)
    provider.post(job, "node-a", "backup")
    provider.post(job, "node-b", "restore", Status.FAILED, message="snapshot damaged")
    assert provider.state(job) is JobState.FAILED
    assert provider.reason(job) == f"node-b: restore of {here.user_name} failed: snapshot damaged"
    assert placements(provider) == ({here.user_name: "node-a"}, {})
    assert ("provider", "verify", "failed") in provider.rows(job)
    late = provider.post(job, "node-b", "activate")
    assert late == Conflict(JobState.FAILED, "the job is failed")


def test_a_failed_deactivation_fails_the_job_but_every_later_one_repeats_it(
    provider: Any, environment: MakeEnvironment
) -> None:
    here, there = environment(node="node-a"), environment(node="node-b")
    user = here.user_name
    provider.finish(provider.deploy(here), [here], "node-a")
    job = provider.deploy(there)
    for node, op in (("node-a", "backup"), ("node-b", "restore"), ("node-b", "activate")):
        provider.post(job, node, op)
    provider.verify(job, user)
    provider.post(job, "node-a", "deactivate", Status.FAILED, message="unit does not stop")
    assert provider.state(job) is JobState.FAILED
    assert placements(provider) == ({user: "node-b"}, {user: frozenset({"node-a"})})
    retry = provider.deploy(there)
    assert provider.rows(retry) == [("node-a", "deactivate", "queued")]
    provider.finish(retry, [], "node-a")
    assert placements(provider) == ({user: "node-b"}, {})


def test_moving_back_makes_the_old_source_the_target_again(
    provider: Any, environment: MakeEnvironment
) -> None:
    here, there = environment(node="node-a"), environment(node="node-b")
    user = here.user_name
    provider.finish(provider.deploy(here), [here], "node-a")
    job = provider.deploy(there)
    for node, op in (("node-a", "backup"), ("node-b", "restore"), ("node-b", "activate")):
        provider.post(job, node, op)
    provider.verify(job, user)
    provider.post(job, "node-a", "deactivate", Status.FAILED)
    back = provider.deploy(here)
    provider.finish(back, [here], "node-a", "node-b")
    assert placements(provider) == ({user: "node-a"}, {})


def test_a_placement_ends_with_its_last_deactivation(provider: Any, environment: MakeEnvironment) -> None:
    here = environment(node="node-a")
    provider.finish(provider.deploy(here), [here], "node-a")
    job = provider.deploy(environment(node="node-a", enable=False))
    assert provider.rows(job) == [("node-a", "deactivate", "queued")]
    provider.finish(job, [], "node-a")
    assert placements(provider) == ({}, {})


def test_a_removal_that_failed_half_way_is_made_good_by_the_next_job(
    provider: Any, environment: MakeEnvironment
) -> None:
    here = environment(node="node-a")
    provider.finish(provider.deploy(here), [here], "node-a")
    removal = provider.deploy(environment(node="node-a", enable=False))
    provider.post(removal, "node-a", "deactivate", Status.RUNNING)
    provider.post(removal, "node-a", "deactivate", Status.FAILED)
    assert placements(provider) == ({here.user_name: "node-a"}, {})
    wanted_back = provider.deploy(here)
    assert provider.rows(wanted_back) == [
        ("node-a", "activate", "queued"),
        ("provider", "verify", "queued"),
    ]
    provider.finish(wanted_back, [here], "node-a")
    assert provider.rows(provider.deploy(here)) == []


def test_an_overridden_source_makes_the_deployed_copy_stale_too(
    provider: Any, environment: MakeEnvironment
) -> None:
    here, there = environment(node="node-a"), environment(node="node-b")
    user = here.user_name
    provider.finish(provider.deploy(here), [here], "node-a")
    job = provider.deploy(there, migration_sources={user: "node-c"})
    provider.post(job, "node-c", "backup")
    provider.post(job, "node-b", "restore")
    provider.post(job, "node-b", "activate")
    provider.verify(job, user)
    assert placements(provider)[1] == {user: frozenset({"node-a", "node-c"})}


def test_the_release_before_is_remembered_through_moves(provider: Any, environment: MakeEnvironment) -> None:
    first, second = environment(rev="1" * 40), environment(rev="2" * 40)
    moved = environment(rev="2" * 40, node="node-b")
    user = first.user_name
    provider.finish(provider.deploy(first), [first], "node-a")
    assert provider.store.deployment(user).previous_source is None
    provider.finish(provider.deploy(second), [second], "node-a")
    assert provider.store.deployment(user).previous_source["rev"] == "1" * 40
    provider.finish(provider.deploy(moved), [moved], "node-a", "node-b")
    assert provider.store.deployment(user).previous_source["rev"] == "1" * 40


def test_repeated_events_are_acknowledged_and_recorded_once(
    provider: Any, environment: MakeEnvironment
) -> None:
    job = provider.deploy(environment())
    assert isinstance(provider.post(job, "node-a", "activate"), Accepted)
    assert provider.post(job, "node-a", "activate") == Repeated()
    event = provider.store.latest_events(job, "node-a")[0]
    assert (event.phase, event.status) == ("activate", "success")
    provider.verify(job, environment().user_name)
    provider.post(job, "node-a", "intent")
    assert provider.state(job) is JobState.SUCCEEDED
    assert provider.post(job, "node-a", "activate") == Repeated()
    assert provider.post(job, "node-a", "intent") == Repeated()
    assert provider.store.record_event(job, Event("node-a", Status.SUCCESS, action_index=7)) == Repeated()


def test_a_final_event_is_recognised_with_and_without_its_index(
    provider: Any, environment: MakeEnvironment
) -> None:
    job = provider.deploy(environment())
    unnumbered = Event("node-a", Status.FAILED, "activate", "disk full")
    assert isinstance(provider.store.record_event(job, unnumbered), Accepted)
    assert provider.state(job) is JobState.FAILED
    assert provider.store.record_event(job, unnumbered) == Repeated()
    assert provider.post(job, "node-a", "activate", Status.FAILED) == Repeated()
    assert isinstance(provider.post(job, "node-a", "activate"), Conflict)


def test_a_final_event_of_a_job_that_failed_otherwise_is_a_conflict(
    provider: Any, environment: MakeEnvironment
) -> None:
    job = provider.deploy(environment())
    provider.post(job, "node-a", "activate", Status.RUNNING)
    provider.store.fail(job, "disk full")

    outcome = provider.post(job, "node-a", "activate", Status.FAILED)

    assert outcome == Conflict(JobState.FAILED, "the job is failed")


def test_what_is_said_again_is_written_once(provider: Any, environment: MakeEnvironment) -> None:
    job = provider.deploy(environment())

    def say(status: Status, message: str | None = None) -> int:
        provider.post(job, "node-a", "intent", status, message=message)
        return int(provider.store.latest_events(job, "node-a")[0].event_id)

    first = say(Status.RUNNING)
    assert {say(Status.RUNNING) for _ in range(5)} == {first}
    second = say(Status.RUNNING, "still")
    assert second == say(Status.RUNNING, "still") > first
    assert say(Status.RUNNING) > second


def test_events_of_strangers_to_a_job_are_no_events(provider: Any, environment: MakeEnvironment) -> None:
    job = provider.deploy(environment())
    assert provider.store.record_event(job, Event("node-b", Status.SUCCESS)) is None
    assert provider.store.record_event("no-such-job", Event("node-a", Status.SUCCESS)) is None


def test_times_are_kept_for_every_action(provider: Any, environment: MakeEnvironment, clock: Any) -> None:
    job = provider.deploy(environment())
    clock.move(5)
    provider.post(job, "node-a", "activate", Status.RUNNING)
    clock.move(10)
    provider.post(job, "node-a", "activate")
    record = provider.store.actions(job, "node-a")[0].to_json()
    assert record["startedAt"] == "2026-03-01T00:00:05.000000Z"
    assert record["finishedAt"] == record["updatedAt"] == "2026-03-01T00:00:15.000000Z"


# Superseding


def test_queued_jobs_of_a_project_become_one(provider: Any) -> None:
    first = provider.store.enqueue(Request(PROJECT, frozenset({"main"}))).job_id
    other = provider.store.enqueue(Request("demo__other", frozenset({"main"}))).job_id
    second = provider.store.enqueue(Request(PROJECT, frozenset({"staging"}))).job_id
    assert provider.state(first) is JobState.SUPERSEDED
    assert provider.store.job(first).superseded_by == second
    assert provider.store.job(second).request.refs == {"main", "staging"}
    assert provider.state(other) is JobState.QUEUED


def test_a_waiting_job_is_superseded_only_before_any_node_began(
    provider: Any, environment: MakeEnvironment
) -> None:
    first = provider.deploy(environment())
    second = provider.store.enqueue(Request(PROJECT, frozenset({"staging"}))).job_id
    taken = provider.store.take_next()
    assert taken.job_id == second
    assert taken.request.refs is None
    assert provider.state(first) is JobState.SUPERSEDED
    assert provider.post(first, "node-a", "activate", Status.RUNNING) == Conflict(
        JobState.SUPERSEDED, "the job is superseded"
    )
    provider.wait(second, environment(rev="2" * 40))
    provider.post(second, "node-a", "activate", Status.RUNNING)
    third = provider.store.enqueue(Request(PROJECT, None)).job_id
    assert provider.store.take_next() is None
    provider.finish(second, [environment()], "node-a")
    assert provider.store.take_next().job_id == third


def test_a_node_and_the_worker_race_for_a_waiting_job_and_one_of_them_wins(
    provider: Any, environment: MakeEnvironment
) -> None:
    for number in range(20):
        job = provider.deploy(environment(rev=f"{number:040x}"))
        provider.store.enqueue(Request(PROJECT, None))
        barrier = threading.Barrier(2)
        outcomes: dict[str, Any] = {}

        def begin(job: str = job, barrier: threading.Barrier = barrier, into: Any = outcomes) -> None:
            barrier.wait()
            into["node"] = provider.post(job, "node-a", "activate", Status.RUNNING)

        def take(barrier: threading.Barrier = barrier, into: Any = outcomes) -> None:
            barrier.wait()
            into["worker"] = provider.store.take_next()

        threads = [threading.Thread(target=begin), threading.Thread(target=take)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        began = isinstance(outcomes["node"], Accepted)
        assert began == (outcomes["worker"] is None)
        if began:
            provider.store.fail(job, "end of the round")
            outcomes["worker"] = provider.store.take_next()
        provider.store.fail(outcomes["worker"].job_id, "end of the round")


def test_a_rejected_push_leaves_nothing_of_the_first_attempt(
    provider: Any, environment: MakeEnvironment
) -> None:
    job = provider.deploy(environment())
    provider.store.plan_again(job)
    assert provider.state(job) is JobState.QUEUED
    assert provider.rows(job) == []
    assert provider.store.waiting_intents("node-a") == []
    assert provider.store.latest_events(job) == []
    assert provider.store.take_next().job_id == job
    prepared = provider.wait(job, environment())
    assert [each.commit_sha for each in provider.store.waiting_intents("node-a")] == [prepared.commit_sha]


def test_a_job_that_is_planned_again_behind_a_newer_one_is_inherited(
    provider: Any, environment: MakeEnvironment
) -> None:
    job = provider.deploy(environment())
    newer = provider.store.enqueue(Request(PROJECT, frozenset({"staging"}))).job_id
    provider.store.plan_again(job)
    assert provider.state(job) is JobState.SUPERSEDED
    assert provider.store.job(newer).request.refs is None


# Deliveries


def test_a_delivery_starts_one_job_until_that_job_failed(provider: Any) -> None:
    store, request = provider.store, Request(PROJECT, None)
    first = store.enqueue(request, Delivery("hash", "1"))
    assert store.enqueue(request, Delivery("hash", "1")).job_id == first.job_id
    assert not store.enqueue(request, Delivery("hash", "1")).created
    other = store.enqueue(request, Delivery("other hash", "1"))
    assert other.job_id != first.job_id
    assert provider.state(first.job_id) is JobState.SUPERSEDED
    assert store.enqueue(request, Delivery("hash", "1")).job_id == first.job_id
    store.fail(other.job_id, "flake does not evaluate")
    again = store.enqueue(request, Delivery("hash", "1"))
    assert again.created
    assert again.job_id not in (first.job_id, other.job_id)


# Intents


def test_waiting_intents_come_in_the_order_of_their_commits(
    provider: Any, environment: MakeEnvironment
) -> None:
    first = provider.deploy(environment(project="drupal"))
    second = provider.deploy(environment(project="shop"))
    assert [each.job_id for each in provider.store.waiting_intents("node-a")] == [first, second]
    provider.store.plan_again(first)
    provider.store.take_next()
    provider.wait(first, environment(project="drupal"))
    assert [each.job_id for each in provider.store.waiting_intents("node-a")] == [second, first]
    provider.post(second, "node-a", "activate")
    provider.post(second, "node-a", "intent")
    assert [each.job_id for each in provider.store.waiting_intents("node-a")] == [first]


def test_secrets_and_sources_are_for_hosts_and_their_targets(
    provider: Any, environment: MakeEnvironment
) -> None:
    here, there = environment(node="node-a"), environment(node="node-b")
    user, store = here.user_name, provider.store
    assert not store.may_read_secrets("node-a", user)
    job = provider.deploy(here)
    assert store.may_read_secrets("node-a", user)
    assert store.may_read_source("node-a", PROJECT)
    assert not store.may_read_secrets("node-b", user)
    assert not store.may_read_source("node-b", PROJECT)
    provider.finish(job, [here], "node-a")
    move = provider.deploy(there)
    assert all(store.may_read_secrets(node, user) for node in ("node-a", "node-b"))
    provider.finish(move, [there], "node-a", "node-b")
    assert not store.may_read_secrets("node-a", user)
    assert not store.may_read_source("node-a", PROJECT)
    assert store.may_read_secrets("node-b", user)


def test_a_verdict_is_the_last_word(provider: Any, environment: MakeEnvironment) -> None:
    here = environment()
    done = provider.deploy(here)
    provider.finish(done, [here], "node-a")
    provider.store.fail(done, "too late")
    provider.store.plan_again(done)
    assert (provider.state(done), provider.reason(done)) == (JobState.SUCCEEDED, None)
    assert provider.rows(done) == [("node-a", "activate", "success"), ("provider", "verify", "success")]


def test_a_jobs_id_is_a_uuid(provider: Any) -> None:
    job_id = provider.store.enqueue(Request(PROJECT, None)).job_id
    assert str(uuid.UUID(job_id)) == job_id


def test_access_ends_with_the_last_open_action(provider: Any, environment: MakeEnvironment) -> None:
    here, there = environment(node="node-a"), environment(node="node-b")
    user, store = here.user_name, provider.store
    provider.finish(provider.deploy(here), [here], "node-a")

    def who_may() -> list[str]:
        for node in ("node-a", "node-b"):
            assert store.may_read_secrets(node, user) == store.may_read_source(node, PROJECT)
        return [node for node in ("node-a", "node-b") if store.may_read_secrets(node, user)]

    move = provider.deploy(there)
    for node, op in (("node-a", "backup"), ("node-b", "restore"), ("node-b", "activate")):
        assert who_may() == ["node-a", "node-b"]
        provider.post(move, node, op)
    # Activated and not yet checked: nobody but the provider has anything left to do for it on node-b.
    assert who_may() == ["node-a", "node-b"]
    provider.verify(move, user)
    assert who_may() == ["node-a", "node-b"]
    provider.post(move, "node-a", "deactivate")
    assert provider.state(move) is JobState.WAITING
    assert who_may() == ["node-b"]


def test_access_ends_with_a_failure(provider: Any, environment: MakeEnvironment) -> None:
    here, there = environment(node="node-a"), environment(node="node-b")
    provider.finish(provider.deploy(here), [here], "node-a")
    move = provider.deploy(there)
    for node, op in (("node-a", "backup"), ("node-b", "restore"), ("node-b", "activate")):
        provider.post(move, node, op)
    provider.verify(move, here.user_name, Status.FAILED, "404")

    assert not provider.store.may_read_secrets("node-b", here.user_name)
    assert provider.store.may_read_secrets("node-a", here.user_name)


# Time


def test_the_time_without_the_service_does_not_count(
    provider: Any, environment: MakeEnvironment, clock: Any
) -> None:
    job = provider.deploy(environment())
    clock.move(100_000)
    provider.reopen()
    assert provider.store.expire(7200) == []
    clock.move(7199)
    assert provider.store.expire(7200) == []
    clock.move(1)
    assert provider.store.expire(7200) == [job]


def test_a_waiting_job_expires_after_its_last_progress(
    provider: Any, environment: MakeEnvironment, clock: Any
) -> None:
    job = provider.deploy(environment())
    clock.move(7000)
    provider.post(job, "node-a", "activate", Status.RUNNING)
    clock.move(7000)
    provider.post(job, "node-a", "intent", Status.RUNNING)
    assert provider.store.expire(7200) == []
    clock.move(200)
    assert provider.store.expire(7200) == [job]
    assert provider.state(job) is JobState.FAILED
    assert provider.rows(job) == [("node-a", "activate", "timed_out"), ("provider", "verify", "timed_out")]
    assert "120 min" in provider.reason(job)


def test_only_a_waiting_job_expires(provider: Any, clock: Any) -> None:
    running = provider.store.enqueue(Request(PROJECT, None)).job_id
    assert provider.store.take_next().job_id == running
    queued = provider.store.enqueue(Request(PROJECT, None)).job_id
    clock.move(100_000)
    assert provider.store.expire(7200) == []
    assert [provider.state(job) for job in (running, queued)] == [JobState.RUNNING, JobState.QUEUED]


# Restarts


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
    broken = type(prepared)(
        prepared.commit_sha, prepared.actions, prepared.verifications, prepared.targets * 2
    )
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


def test_waiting_for_a_change_ends_with_it(provider: Any, environment: MakeEnvironment) -> None:
    job = provider.deploy(environment())
    seen = provider.store.version(job)
    thread = threading.Thread(target=lambda: provider.store.wait(seen, 60, job))
    thread.start()
    provider.post(job, "node-a", "activate", Status.RUNNING)
    thread.join(30)
    assert not thread.is_alive()
    assert provider.store.version(job) > seen


def test_a_store_in_memory_follows_the_same_rules(clock: Any) -> None:
    store = Store(None, clock, iter(["one", "two"]).__next__)
    assert store.enqueue(Request(PROJECT, None)).job_id == "one"
    assert store.enqueue(Request(PROJECT, None)).job_id == "two"
    job = store.job("one")
    assert job is not None
    assert json.loads(json.dumps(job.to_json([])))["state"] == "superseded"
