"""What an unfinished job waits for is always said, and is true."""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import pytest
from hostenv_core.states import Status
from hostenv_provider.cli import jobs
from hostenv_provider.plan.plan import Environment
from hostenv_provider.rules.jobs import Request

MakeEnvironment = Callable[..., Environment]
SINCE = "2026-03-01T00:00:00Z"


def waits_for(provider: Any, job_id: str) -> str | None:
    said: str | None = provider.store.waits_for(provider.store.job(job_id))
    return said


def deploy(provider: Any, *environments: Environment, **options: Any) -> str:
    """A job whose commit has reached the remote."""
    job_id: str = provider.deploy(*environments, **options)
    provider.store.mark_pushed(job_id)
    return job_id


def test_a_job_that_is_planned_says_which_stage_runs(provider: Any) -> None:
    job = provider.store.enqueue(Request("demo__drupal", None)).job_id
    assert waits_for(provider, job) == "the service to plan it"
    provider.store.take_next()
    provider.clock.move(5)
    provider.store.set_stage(job, "update_flake")
    assert waits_for(provider, job) == "stage update_flake, running since 2026-03-01T00:00:05Z"
    other = provider.store.enqueue(Request("demo__blog", None)).job_id
    assert waits_for(provider, other) == f"job {job} of demo__drupal to be planned"
    provider.store.fail(job, "seen")
    assert waits_for(provider, job) is None


def test_a_push_behind_a_job_of_its_project_names_that_job(
    provider: Any, environment: MakeEnvironment
) -> None:
    job = deploy(provider, environment())
    fix = provider.store.enqueue(Request("demo__drupal", None)).job_id
    assert waits_for(provider, fix) == "the service to plan it", "it supersedes what no node has begun"
    provider.post(job, "node-a", "activate", Status.RUNNING)
    assert waits_for(provider, fix) == f"job {job} of the same project to end"


def test_a_move_says_all_the_way_whom_it_waits_for(provider: Any, environment: MakeEnvironment) -> None:
    here = environment(node="node-a")
    user = here.user_name
    provider.finish(provider.deploy(here), [here], "node-a")
    job = provider.deploy(environment(node="node-b"))
    assert waits_for(provider, job) == "the push of its commit 000000000000"
    provider.store.mark_pushed(job)
    silent = f"to see commit 000000000000 (nothing heard from it since {SINCE})"
    assert waits_for(provider, job) == f"node-a {silent}; node-b {silent}"

    provider.post(job, "node-b", "restore", Status.WAITING)
    assert waits_for(provider, job) == f"node-a {silent}"
    provider.clock.move(60)
    provider.post(job, "node-a", "backup", Status.RUNNING)
    provider.clock.move(60)
    assert waits_for(provider, job) == f"backup of {user} on node-a (running since 2026-03-01T00:01:00Z)"
    provider.post(job, "node-a", "backup")
    assert waits_for(provider, job) == f"restore of {user} on node-b to begin"
    provider.post(job, "node-b", "restore")
    provider.post(job, "node-b", "activate")
    assert waits_for(provider, job) == f"verify of {user} on node-b to begin"
    provider.store.start_verification(job, user)
    assert waits_for(provider, job) == f"verify of {user} on node-b (running since 2026-03-01T00:02:00Z)"
    provider.verify(job, user)
    assert (
        waits_for(provider, job) == f"deactivate of {user} on node-a to begin; the closing report of node-b"
    )
    provider.post(job, "node-a", "deactivate")
    provider.post(job, "node-a", "intent")
    assert waits_for(provider, job) == "the closing report of node-b"
    provider.post(job, "node-b", "intent")
    assert waits_for(provider, job) is None


def test_a_node_that_is_busy_with_another_job_is_not_said_to_be_silent(
    provider: Any, environment: MakeEnvironment
) -> None:
    blog = deploy(provider, environment(project="blog"))
    shop = deploy(provider, environment(project="shop"))
    assert waits_for(provider, shop) == f"node-a to finish job {blog}, which comes first there"
    provider.store.fail(blog, "seen")
    assert str(waits_for(provider, shop)).startswith("node-a to see commit 000000000000 (nothing heard")


def test_a_source_that_has_not_frozen_is_named(provider: Any, environment: MakeEnvironment) -> None:
    here = environment(node="node-a", migrations=())
    provider.finish(provider.deploy(here), [here], "node-a")
    job = deploy(provider, environment(node="node-b", migrations=()))
    provider.post(job, "node-a", "intent", Status.RUNNING)
    provider.post(job, "node-b", "activate")
    said = waits_for(provider, job)
    assert said == f"verify of {here.user_name} must wait until node-a has frozen it"


def test_what_a_node_cannot_do_is_in_the_line(provider: Any, environment: MakeEnvironment) -> None:
    here = environment()
    job = deploy(provider, here)
    provider.until_check(job)
    provider.verify(job, here.user_name)
    assert waits_for(provider, job) == "the closing report of node-a"
    provider.post(job, "node-a", "intent", Status.WAITING, message="cannot delete release 1")
    said = "the closing report of node-a, which says: cannot delete release 1"
    assert waits_for(provider, job) == said


@pytest.mark.parametrize("follow", [False, True])
def test_the_command_shows_it_until_the_job_has_ended(
    api: Any, job: str, capsys: pytest.CaptureFixture[str], follow: bool
) -> None:
    api.store.mark_pushed(job)
    shown = api.request("GET", f"/api/jobs/{job}").json["waitsFor"]
    jobs.run(Namespace(json=False, job=job, follow=False), api.config)
    assert f"  waits for: {shown}" in capsys.readouterr().out.splitlines()

    api.store.fail(job, "seen")
    assert api.request("GET", f"/api/jobs/{job}").json["waitsFor"] is None
    jobs.run(Namespace(json=False, job=job, follow=follow), api.config)
    assert "waits for" not in capsys.readouterr().out
