"""Reloads, their verdict and reverting, with the user's side, systemd and nginx played by recorders."""

from collections.abc import Callable
from typing import Any

import pytest
from hostenv_node.config import Config
from hostenv_node.environment.entry import parse_environment
from hostenv_node.environment.steps import ActivateRelease, Tidy
from hostenv_node.errors import OperationFailed
from hostenv_node.render.files import release_name
from hostenv_node.runtime.operations import Runtime
from hostenv_node.runtime.record import Applied
from runtime_support import HOST, USER, Machine, action, active, context, entry


def test_switching_back_serves_the_release_before(
    runtime: Runtime, machine: Machine, config: Config, changed: Callable[..., Any]
) -> None:
    active(runtime, machine)
    newer = changed("repo", "rev", to="b" * 40)
    runtime.reload(context(), action("reload"), {**newer, "virtualHosts": {"new.example": {}}})
    runtime.reload(context(), action("reload"), {**newer, "virtualHosts": {"new.example": {}}})
    assert f"serve {HOST},new.example" in machine.events
    machine.events.clear()
    runtime.revert(context(), USER)
    assert f"serve demo.hostenv.local,{HOST}" in machine.events
    assert "WriteSecrets" not in machine.events
    record = runtime.records.get(USER)
    assert record is not None
    assert record.applied == Applied(entry(), release_name(parse_environment(entry()), config))
    machine.events.clear()
    runtime.revert(context(), USER)
    assert machine.events == []


def test_a_reload_makes_the_release_beside_the_old_one_which_is_kept_until_the_verdict(
    runtime: Runtime, machine: Machine, config: Config, changed: Callable[..., Any]
) -> None:
    active(runtime, machine)
    newer = changed("repo", "rev", to="b" * 40)
    before, after = (release_name(parse_environment(each), config) for each in (entry(), newer))
    machine.steps.clear()
    runtime.reload(context(), action("reload"), newer)
    assert machine.events.index("LayOutRelease") < machine.events.index("ActivateRelease")
    runtime.revert(context(), USER)
    assert machine.asked(ActivateRelease) == [ActivateRelease(after, (before,)), ActivateRelease(before, ())]


def test_a_verified_reload_keeps_only_its_own_release(
    runtime: Runtime, machine: Machine, config: Config, changed: Callable[..., Any]
) -> None:
    active(runtime, machine)
    runtime.reload(context(), action("reload"), changed("repo", "rev", to="b" * 40))
    machine.events.clear()
    runtime.keep(context(), USER)
    new = release_name(parse_environment(changed("repo", "rev", to="b" * 40)), config)
    assert machine.events == ["Tidy"]
    assert machine.asked(Tidy) == [Tidy((), (new,))]
    runtime.keep(context(), USER)
    runtime.revert(context(), USER)
    assert len(machine.events) == 1


def test_a_reload_is_settled_by_its_own_job_only(
    runtime: Runtime, machine: Machine, changed: Callable[..., Any]
) -> None:
    active(runtime, machine)
    runtime.reload(context(), action("reload"), changed("repo", "rev", to="b" * 40))
    machine.events.clear()
    runtime.keep(context("job-2"), USER)
    runtime.revert(context("job-2"), USER)
    assert machine.events == []


def test_what_is_not_active_is_not_reloaded(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    runtime.deactivate(context(), action("deactivate"))
    machine.events.clear()
    with pytest.raises(OperationFailed, match="is not active"):
        runtime.reload(context("job-2"), action("reload"), entry())
    assert machine.events == []


def test_a_reload_that_fails_leaves_the_record_with_what_serves(
    runtime: Runtime, machine: Machine, changed: Callable[..., Any]
) -> None:
    active(runtime, machine)
    machine.fails = {"LayOutRelease": OperationFailed("no such docroot")}
    with pytest.raises(OperationFailed):
        runtime.reload(context(), action("reload"), changed("repo", "rev", to="b" * 40))
    record = runtime.records.get(USER)
    assert record is not None
    assert record.applied.entry == entry()
    machine.events.clear()
    runtime.boot()
    assert machine.events == ["run dirs", f"write {USER}", "nginx"]
