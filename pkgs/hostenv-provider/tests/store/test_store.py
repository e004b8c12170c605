"""Contract 5 and 7 on a real database: events, superseding, deliveries, what nodes may have, time."""

import json
import threading
import uuid
from collections.abc import Callable
from typing import Any

from hostenv_core.states import JobState, Status
from hostenv_provider.plan.plan import Environment
from hostenv_provider.rules.jobs import Accepted, Conflict, Event, Noted, Repeated, Request
from hostenv_provider.rules.stored import Delivery
from hostenv_provider.store.store import Store

MakeEnvironment = Callable[..., Environment]
PROJECT = "demo__drupal"


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


def test_a_nodes_words_are_shown_until_it_takes_them_back_also_after_the_end(
    provider: Any, environment: MakeEnvironment
) -> None:
    job = provider.deploy(environment())
    store = provider.store

    def say(message: str | None) -> list[tuple[str, str | None]]:
        assert isinstance(
            provider.post(job, "node-a", "intent", Status.WAITING, message=message), Noted | Repeated
        )
        return [(note.node, note.message) for note in store.notes(job)]

    assert say("could not thaw: hung") == [("node-a", "could not thaw: hung")]
    assert say("could not thaw: masked") == [("node-a", "could not thaw: masked")]
    provider.post(job, "node-a", "activate", Status.RUNNING)
    assert store.notes(job), "another event of the node does not take it back"
    assert provider.post(job, "node-a", "intent", Status.WAITING, message="could not thaw: masked") == (
        Repeated()
    )

    store.fail(job, "disk full")
    ended = store.job(job)
    assert say("could not withdraw: masked") == [("node-a", "could not withdraw: masked")]
    assert store.job(job) == ended
    assert say(None) == []
    assert provider.post(job, "node-a", "intent", Status.RUNNING) == Conflict(
        JobState.FAILED, "the job is failed"
    )


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
    assert not store.part("node-a", user).gets_secrets
    job = provider.deploy(here)
    assert store.part("node-a", user).gets_secrets
    assert store.may_read_source("node-a", PROJECT)
    assert not store.part("node-b", user).gets_secrets
    assert not store.may_read_source("node-b", PROJECT)
    provider.finish(job, [here], "node-a")
    move = provider.deploy(there)
    assert all(store.part(node, user).gets_secrets for node in ("node-a", "node-b"))
    provider.finish(move, [there], "node-a", "node-b")
    assert not store.part("node-a", user).gets_secrets
    assert not store.may_read_source("node-a", PROJECT)
    assert store.part("node-b", user).gets_secrets


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
        return [node for node in ("node-a", "node-b") if store.part(node, user).gets_secrets]

    move = provider.deploy(there)
    for node, op in (("node-a", "backup"), ("node-b", "restore"), ("node-b", "activate")):
        assert who_may() == ["node-a", "node-b"]
        provider.post(move, node, op)
    # Activated and not yet checked: nobody but the provider has anything left to do for it on node-b.
    assert who_may() == ["node-a", "node-b"]
    provider.verify(move, user)
    assert who_may() == ["node-b"], "what is left to node-a is to stop its copy"
    assert store.may_read_source("node-a", PROJECT)
    provider.post(move, "node-a", "deactivate")
    assert provider.state(move) is JobState.WAITING
    assert not store.may_read_source("node-a", PROJECT)
    assert store.may_read_source("node-b", PROJECT)


def test_access_ends_with_a_failure(provider: Any, environment: MakeEnvironment) -> None:
    here, there = environment(node="node-a"), environment(node="node-b")
    provider.finish(provider.deploy(here), [here], "node-a")
    move = provider.deploy(there)
    provider.until_check(move)
    provider.verify(move, here.user_name, Status.FAILED, "404")

    assert not provider.store.part("node-b", here.user_name).gets_secrets
    assert provider.store.part("node-a", here.user_name).gets_secrets


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
    assert json.loads(json.dumps(job.to_json([], [], None)))["state"] == "superseded"


def test_a_node_that_only_goes_to_and_fro_does_not_keep_its_job(
    provider: Any, environment: MakeEnvironment
) -> None:
    job = provider.deploy(environment())
    for status in (Status.RUNNING, Status.WAITING, Status.RUNNING, Status.WAITING):
        provider.clock.move(60)
        provider.post(job, "node-a", "activate", status)
    assert provider.store.expire(200) == []
    provider.clock.move(20)
    assert provider.store.expire(200) == [job]
