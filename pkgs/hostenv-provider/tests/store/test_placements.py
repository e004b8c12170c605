"""The commit point on a real database: what is deployed where, and which nodes hold a stale copy."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from hostenv_core.states import JobState, Status
from hostenv_provider.plan.plan import Environment
from hostenv_provider.rules.jobs import Conflict
from hostenv_provider.store import database
from hostenv_provider.store.store import Store
from provider_support import make_earlier

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
    provider.until_check(job)
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
    provider.until_check(job)
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
    provider.until_check(job)
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
    provider.until_check(job)
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


def test_what_earlier_versions_said_by_enable_is_read(provider: Any, environment: MakeEnvironment) -> None:
    """A removal that was begun made `enable` false in what is deployed."""
    removed, whole = environment("main"), environment("staging")
    provider.finish(provider.deploy(removed, whole), [removed, whole], "node-a")
    provider.store.close()
    make_earlier(provider.path, database._UNCERTAIN)
    with closing(sqlite3.connect(provider.path)) as before, before:
        before.execute(
            "UPDATE deployed SET environment = json_set(environment, '$.enable', json('false'))"
            " WHERE user = ?",
            (removed.user_name,),
        )

    found = Store(provider.path).deployed(PROJECT)

    assert {user for user, each in found.items() if each.uncertain} == {removed.user_name}
    assert [found[each.user_name].environment for each in (removed, whole)] == [
        removed.comparable(),
        whole.comparable(),
    ]


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
