"""Backups, freezing and thawing, with the user's side, systemd and nginx played by recorders."""

from dataclasses import replace

import pytest
from hostenv_node.environment.steps import Backup, FindLosses, RefreshUnits
from hostenv_node.errors import OperationFailed
from hostenv_node.runtime import operations as module
from hostenv_node.runtime.operations import Runtime
from runtime_support import SNAPSHOT, USER, Machine, action, active, context, entry, never


def test_a_backup_freezes_first_and_is_the_same_when_asked_again(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    payload = runtime.backup(context(), action("backup"))
    assert payload == {"user": USER, "sourceNode": "node-b", "snapshots": {"drupal-migrate": SNAPSHOT}}
    assert machine.events.index("Freeze") < machine.events.index("Backup")
    assert machine.asked(Backup) == [Backup(("drupal-migrate",), repository=True, physical=False, live=False)]
    machine.events.clear()
    assert runtime.backup(context(), action("backup")) == payload
    assert machine.events == []


@pytest.mark.parametrize("snapshot", ["x" * 1_000_000, "\ud800\n", ["x" * 1_000_000], None])
def test_what_is_no_snapshot_is_refused_in_a_short_line(
    runtime: Runtime, machine: Machine, monkeypatch: pytest.MonkeyPatch, snapshot: object
) -> None:
    active(runtime, machine)
    monkeypatch.setattr(
        module, "user_apply", lambda *_: {Backup: {"drupal-migrate": snapshot}, FindLosses: {}}
    )
    with pytest.raises(OperationFailed, match="drupal-migrate") as caught:
        runtime.backup(context(), action("backup"))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("found", [{"databases": ["shop"]}, None])
def test_what_would_be_left_behind_is_known_before_anything_is_frozen(
    runtime: Runtime, machine: Machine, found: object
) -> None:
    active(runtime, machine)
    machine.found = found
    with pytest.raises(OperationFailed, match="behind"):
        runtime.backup(context(), action("backup"))
    assert runtime.freezes.holder(USER) is None
    assert not {"Freeze", "Backup"} & set(machine.events)


def test_a_loss_that_is_accepted_is_told_before_anything_is_frozen(
    runtime: Runtime, machine: Machine
) -> None:
    active(runtime, machine)
    machine.found = {"databases": ["shop"], "floats": ["a.b"]}
    told: list[tuple[str, str | None]] = []
    telling = replace(context(), tell=lambda text: told.append((text, runtime.freezes.holder(USER))))
    runtime.backup(telling, replace(action("backup"), accept_loss=True))
    ((text, holder),) = told
    assert "shop" in text
    assert "a.b" in text
    assert holder is None
    assert "Backup" in machine.events


def test_what_answers_visitors_takes_up_the_files_that_a_backup_writes(
    runtime: Runtime, machine: Machine
) -> None:
    active(runtime, machine)
    runtime.backup(context(), action("backup"))
    order = [machine.events.index(name) for name in ("WriteFiles", "RefreshUnits", "Freeze")]
    assert order == sorted(order)
    (step,) = machine.asked(RefreshUnits)
    assert list(step.unit_files) == ["phpfpm-drupal.service", "nginx.service"]


def test_a_backup_after_a_thaw_is_a_new_one(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    runtime.backup(context(), action("backup"))
    runtime.thaw(context(), USER)
    machine.events.clear()
    runtime.backup(context(), action("backup"))
    assert "Backup" in machine.events


def test_a_backup_of_what_is_not_here_fails(runtime: Runtime) -> None:
    with pytest.raises(OperationFailed, match=USER):
        runtime.backup(context(), action("backup"))
    assert runtime.freezes.holder(USER) is None


def test_what_waits_to_be_deactivated_takes_no_more_writes(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    for _ in range(2):
        runtime.freeze(context(), USER)
    assert machine.events == ["run dirs", "logins", "manager", "Freeze"]
    assert runtime.freezes.holder(USER) == "job-1"
    runtime.freeze(context("job-2"), USER)
    assert runtime.freezes.holder(USER) == "job-1"


@pytest.mark.parametrize("operation", ["freeze", "backup"])
def test_no_write_comes_in_while_those_in_flight_are_awaited(
    runtime: Runtime, machine: Machine, operation: str
) -> None:
    active(runtime, machine)
    holders: list[str | None] = []

    def note(event: str) -> None:
        if event == "Freeze":
            holders.append(runtime.freezes.holder(USER))

    machine.note = note  # type: ignore[method-assign]
    if operation == "freeze":
        runtime.freeze(context(), USER)
    else:
        runtime.backup(context(), action("backup"))
    assert holders == ["job-1"]


def test_a_freeze_whose_drain_failed_is_drained_when_asked_again(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    machine.fails = {"Freeze": OperationFailed("no")}
    with pytest.raises(OperationFailed):
        runtime.freeze(context(), USER)
    machine.fails = {}
    machine.events.clear()
    runtime.freeze(context(), USER)
    assert "Freeze" in machine.events


def test_a_stale_copy_that_is_backed_up_stays_frozen_when_that_job_fails(
    runtime: Runtime, machine: Machine
) -> None:
    active(runtime, machine)
    runtime.freezes.freeze(USER, "job-0")
    assert runtime.backup(context(), action("backup")) == runtime.backup(context(), action("backup"))
    assert machine.events.count("Backup") == 1
    runtime.thaw(context(), USER)
    assert runtime.freezes.holder(USER) == "job-0"


def test_after_a_backup_a_freeze_has_nothing_to_do(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    runtime.backup(context(), action("backup"))
    machine.events.clear()
    runtime.freeze(context(), USER)
    assert machine.events == []


def test_what_is_not_served_here_is_not_frozen(runtime: Runtime, machine: Machine) -> None:
    runtime.freeze(context(), USER)
    assert runtime.freezes.holder(USER) is None
    active(runtime, machine)
    runtime.deactivate(context(), action("deactivate"))
    runtime.freeze(context(), USER)
    assert runtime.freezes.holder(USER) is None


def test_neither_time_nor_a_reboot_lifts_a_freeze(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    runtime.freeze(context(), USER)
    runtime.boot()
    runtime.prune(1e12, (), never)
    assert runtime.freezes.holder(USER) == "job-1"


def test_only_an_active_copy_starts_what_stood_still_when_it_thaws(
    runtime: Runtime, machine: Machine
) -> None:
    active(runtime, machine)
    runtime.backup(context(), action("backup"))
    machine.events.clear()
    runtime.thaw(context("job-2"), USER)
    assert machine.events == []
    runtime.thaw(context(), USER)
    assert machine.events == ["run dirs", "logins", "manager", "Thaw"]
    runtime.restore(context("job-3"), action("restore"), entry(), {"drupal-migrate": SNAPSHOT})
    machine.events.clear()
    runtime.thaw(context("job-3"), USER)
    assert machine.events == []
    assert runtime.freezes.holder(USER) is None


def test_a_thaw_that_was_cut_short_starts_what_stood_still_when_it_is_done_again(
    runtime: Runtime, machine: Machine
) -> None:
    active(runtime, machine)
    runtime.backup(context(), action("backup"))
    machine.fails = {"Thaw": OperationFailed("killed")}
    with pytest.raises(OperationFailed):
        runtime.thaw(context(), USER)
    assert runtime.freezes.holder(USER) is None
    machine.events.clear()
    machine.fails = {}
    runtime.thaw(context(), USER)
    assert machine.events == ["run dirs", "logins", "manager", "Thaw"]
