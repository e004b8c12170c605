"""What the service's memory may lose (contract 5, memory): one rule, and thousands of invented pasts."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hostenv_core.states import ENDED, JobState
from hostenv_provider.rules.retention import JOBS_KEPT, OpenJobs, Past, Retention, removable

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RETENTION = Retention(jobs=90, deliveries=30)
OLD = NOW - timedelta(days=91)
HEARD = OpenJobs(NOW - timedelta(minutes=1), frozenset())
PAST = Past("job", JobState.SUCCEEDED, OLD, newer=JOBS_KEPT, nodes=frozenset({"node-a", "node-b"}))


def removed(past: Past, heard: OpenJobs | None = HEARD) -> bool:
    return bool(removable(NOW, RETENTION, [past], {"node-a": HEARD, "node-b": heard}))


def test_a_job_goes_that_nothing_needs() -> None:
    assert removed(PAST)


@pytest.mark.parametrize(
    "past",
    [
        pytest.param(replace(PAST, finished_at=NOW - timedelta(days=90)), id="not-old"),
        pytest.param(replace(PAST, newer=JOBS_KEPT - 1), id="one-of-the-latest"),
        pytest.param(replace(PAST, named=True), id="named"),
        pytest.param(replace(PAST, superseded=frozenset({"kept"})), id="in-anothers-place"),
        pytest.param(replace(PAST, state=JobState.WAITING, finished_at=None), id="waits"),
    ],
)
def test_a_job_stays_that_something_needs(past: Past) -> None:
    assert not removed(past)


@pytest.mark.parametrize(
    "heard",
    [
        pytest.param(None, id="never-heard"),
        pytest.param(OpenJobs(HEARD.heard_at, frozenset({"job"})), id="open"),
        pytest.param(OpenJobs(OLD, frozenset()), id="heard-before-the-end"),
    ],
)
def test_a_job_stays_that_a_node_may_have_open(heard: OpenJobs | None) -> None:
    assert not removed(PAST, heard)
    assert removed(replace(PAST, nodes=frozenset({"node-a"})), heard)
    assert removable(NOW, RETENTION, [PAST], {"node-a": HEARD}) == ["job"], "node-b is no node any more"


def test_what_took_a_jobs_place_goes_with_it() -> None:
    older = replace(PAST, job_id="older", state=JobState.SUPERSEDED)
    newer = replace(PAST, superseded=frozenset({"older"}))
    heard = {"node-a": HEARD, "node-b": HEARD}
    assert removable(NOW, RETENTION, [older, newer], heard) == ["older", "job"]
    assert removable(NOW, RETENTION, [replace(older, named=True), newer], heard) == []


def invented(chance: random.Random) -> tuple[list[Past], dict[str, OpenJobs | None]]:
    """Jobs of a few projects in the order of their ends, and what some of their nodes said."""
    jobs: list[Past] = []
    count = chance.randrange(60)
    newer = {"p": count, "q": count}
    moment = NOW - timedelta(days=200)
    for number in range(count):
        project = chance.choice("pq")
        newer[project] -= 1
        moment += timedelta(days=chance.random() * 5)
        ended = chance.random() < 0.9
        job = Past(
            job_id=f"{project}{number}",
            state=chance.choice(sorted(ENDED)) if ended else JobState.WAITING,
            finished_at=moment if ended else None,
            newer=min(newer[project], JOBS_KEPT),
            nodes=frozenset(chance.sample(["a", "b", "away", "former"], chance.randrange(3))),
            named=chance.random() < 0.1,
            superseded=frozenset(chance.sample([each.job_id for each in jobs], min(len(jobs), 1)))
            if chance.random() < 0.2
            else frozenset(),
        )
        jobs.append(job)
    heard: dict[str, OpenJobs | None] = {
        node: OpenJobs(
            NOW - timedelta(days=chance.random() * 200),
            frozenset(job.job_id for job in jobs if chance.random() < 0.1),
        )
        for node in "ab"
    }
    return jobs, {**heard, "away": None}


def test_of_any_past_only_goes_what_nothing_names_and_all_of_that() -> None:
    went = 0
    for seed in range(2000):
        jobs, heard = invented(random.Random(seed))
        gone = removable(NOW, RETENTION, jobs, heard)
        went += len(gone)
        kept = [job for job in jobs if job.job_id not in gone]
        for job in jobs:
            needed = (
                job.finished_at is None
                or job.finished_at + timedelta(days=90) >= NOW
                or job.newer < JOBS_KEPT
                or job.named
                or any(
                    said is None or job.job_id in said.jobs or said.heard_at <= job.finished_at
                    for node in job.nodes & heard.keys()
                    for said in [heard[node]]
                )
                or any(each.job_id in job.superseded for each in kept)
            )
            assert (job.job_id in gone) != needed, (seed, job)
    assert went > 1000
