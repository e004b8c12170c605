"""The operations' own order and records, with the user's side, systemd and nginx played by recorders."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hostenv_core.locks import locked_if_free
from hostenv_core.processes import CommandTimedOut
from hostenv_node.config import Config
from hostenv_node.environment.layout import Layout
from hostenv_node.environment.steps import Restore, Tidy
from hostenv_node.errors import OperationFailed, OperationTimedOut
from hostenv_node.runtime import operations as module
from hostenv_node.runtime.operations import Runtime
from hostenv_node.runtime.record import Phase, Record
from runtime_support import HOST, SNAPSHOT, USER, Machine, action, active, context, entry, never, phase

TAKEN_DOWN = [f"withdraw {HOST}", "no logins", "StopUnits", "no manager", "EndProcesses"]


def test_a_target_is_frozen_before_anybody_can_reach_it(runtime: Runtime, machine: Machine) -> None:
    holders: list[str | None] = []
    machine.note = lambda _event: holders.append(runtime.freezes.holder(USER))  # type: ignore[method-assign]
    runtime.activate(context(), action("activate"), entry())
    assert set(holders) == {"job-1"}
    assert phase(runtime) is Phase.ACTIVE
    assert runtime.freezes.holder(USER) == "job-1"


@pytest.mark.parametrize("step", ["StartUnits", f"serve demo.hostenv.local,{HOST}"])
def test_an_activation_that_fails_is_recorded_as_begun_and_not_served_after_a_boot(
    runtime: Runtime, machine: Machine, step: str
) -> None:
    machine.fails = {step: OperationFailed("no")}
    with pytest.raises(OperationFailed):
        runtime.activate(context(), action("activate"), entry())
    assert phase(runtime) is Phase.RESTORED
    machine.events.clear()
    runtime.boot()
    assert machine.events == ["run dirs", "write ", "nginx"]


def test_a_source_takes_writes_while_the_backup_server_is_down(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    machine.fails = {"backup server": OperationFailed("the backup server does not answer")}
    with pytest.raises(OperationFailed, match="does not answer"):
        runtime.backup(context(), action("backup"))
    assert runtime.freezes.holder(USER) is None
    assert machine.events == ["backup server"]


def test_a_repeated_activation_does_nothing(runtime: Runtime, machine: Machine) -> None:
    runtime.activate(context(), action("activate"), entry())
    machine.events.clear()
    runtime.activate(context(), action("activate"), entry())
    assert machine.events == []


@pytest.mark.parametrize("op", ["restore", "activate", "reload"])
def test_code_and_secrets_are_fetched_before_anything_changes(
    runtime: Runtime, machine: Machine, changed: Callable[..., Any], op: str
) -> None:
    if op == "restore":
        runtime.restore(context(), action(op), entry(), {"drupal-migrate": SNAPSHOT})
    elif op == "activate":
        runtime.activate(context(), action(op), entry())
    else:
        active(runtime, machine)
        runtime.reload(context(), action(op), changed("repo", "rev", to="b" * 40))
    done = "Restore" if op == "restore" else "ActivateRelease"
    assert machine.events.index("fetch") < machine.events.index("WriteSecrets") < machine.events.index(done)


def test_a_release_is_fetched_once_for_restore_and_activate(runtime: Runtime, machine: Machine) -> None:
    runtime.restore(context(), action("restore"), entry(), {"drupal-migrate": SNAPSHOT})
    assert phase(runtime) is Phase.RESTORED
    runtime.activate(context(), action("activate"), entry())
    assert machine.events.count("fetch") == 1


@pytest.mark.parametrize("snapshots", [{}, {"drupal-migrate": "latest"}, {"other": SNAPSHOT}])
def test_a_restore_without_its_snapshot_leaves_no_trace(
    runtime: Runtime, machine: Machine, snapshots: dict[str, str]
) -> None:
    with pytest.raises(OperationFailed, match="drupal-migrate"):
        runtime.restore(context(), action("restore"), entry(), snapshots)
    assert machine.events == []
    assert phase(runtime) is None
    assert runtime.freezes.holder(USER) is None


def test_a_restore_of_another_snapshot_is_not_taken_for_done(runtime: Runtime, machine: Machine) -> None:
    runtime.restore(context(), action("restore"), entry(), {"drupal-migrate": SNAPSHOT})
    machine.events.clear()
    runtime.restore(context(), action("restore"), entry(), {"drupal-migrate": "cd" * 32})
    assert "Restore" in machine.events
    assert [step.snapshot for step in machine.asked(Restore)] == [SNAPSHOT, "cd" * 32]


def test_what_another_job_restored_is_not_taken_for_done(runtime: Runtime, machine: Machine) -> None:
    runtime.restore(context("job-1"), action("restore"), entry(), {"drupal-migrate": SNAPSHOT})
    machine.events.clear()
    runtime.restore(context("job-2"), action("restore"), entry(), {"drupal-migrate": SNAPSHOT})
    assert "Restore" in machine.events


def test_what_a_restore_sets_aside_is_noted_before_it_is_and_once(
    runtime: Runtime, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.fails = {"Restore": OperationFailed("no")}
    for now in (1000.0, 2000.0):
        monkeypatch.setattr(module.time, "time", lambda now=now: now)
        with pytest.raises(OperationFailed):
            runtime.restore(context(), action("restore"), entry(), {"drupal-migrate": SNAPSHOT})
        record = runtime.records.get(USER)
        assert record is not None
        assert record.set_aside == {"job-1": 1000.0}


def test_a_stale_copy_closes_its_front_door_before_its_data_change(
    runtime: Runtime, machine: Machine
) -> None:
    active(runtime, machine)
    runtime.restore(context(), action("restore"), entry(), {"drupal-migrate": SNAPSHOT})
    assert machine.events.index(f"withdraw {HOST}") < machine.events.index("Restore")


def test_deactivation_ends_with_the_freeze_lifted_and_may_be_repeated(
    runtime: Runtime, machine: Machine
) -> None:
    active(runtime, machine)
    runtime.backup(context(), action("backup"))
    for _ in range(2):
        machine.events.clear()
        runtime.deactivate(context(), action("deactivate"))
        assert machine.events == TAKEN_DOWN
    assert phase(runtime) is Phase.INACTIVE
    assert runtime.freezes.holder(USER) is None


@pytest.mark.parametrize("fault", TAKEN_DOWN)
def test_deactivation_is_no_success_while_anything_runs(
    runtime: Runtime, machine: Machine, fault: str
) -> None:
    active(runtime, machine)
    runtime.backup(context(), action("backup"))
    machine.fails = {fault: OperationFailed("still there")}
    with pytest.raises(OperationFailed):
        runtime.deactivate(context(), action("deactivate"))
    assert runtime.freezes.holder(USER) == "job-1"
    assert phase(runtime) is (Phase.RESTORED if "withdraw" not in fault else Phase.ACTIVE)


def test_what_was_withdrawn_is_not_served_by_a_boot_while_it_stops(
    runtime: Runtime, machine: Machine
) -> None:
    active(runtime, machine)
    machine.fails = {"StopUnits": OperationFailed("still there")}
    with pytest.raises(OperationFailed):
        runtime.deactivate(context(), action("deactivate"))
    machine.events.clear()
    runtime.boot()
    assert machine.events == ["run dirs", "write ", "nginx"]


@pytest.mark.parametrize("operation", ["activate", "reload", "revert", "deactivate", "boot"])
def test_a_boot_never_sees_the_front_door_and_the_records_apart(
    runtime: Runtime,
    machine: Machine,
    changed: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
) -> None:
    newer = changed("repo", "rev", to="b" * 40)
    if operation != "activate":
        active(runtime, machine)
    if operation == "revert":
        runtime.reload(context(), action("reload"), newer)
    unguarded: list[str] = []
    note, put = machine.note, runtime.records.put

    def look(event: str) -> None:
        with locked_if_free(runtime.config.state_dir / "front-door.lock") as free:
            if free:
                unguarded.append(event)

    def noted(event: str) -> None:
        if event.startswith(("serve", "withdraw", "write")):
            look(event)
        note(event)

    def served(record: Record | None) -> object:
        return record.applied if record is not None and record.phase is Phase.ACTIVE else None

    def recorded(record: Record) -> None:
        if served(record) != served(runtime.records.get(USER)):
            look(f"{record.phase} {record.applied.release}")
        put(record)

    monkeypatch.setattr(machine, "note", noted)
    monkeypatch.setattr(runtime.records, "put", recorded)
    match operation:
        case "activate":
            runtime.activate(context(), action("activate"), entry())
        case "reload":
            runtime.reload(context(), action("reload"), newer)
        case "revert":
            runtime.revert(context(), USER)
        case "deactivate":
            runtime.deactivate(context(), action("deactivate"))
        case "boot":
            runtime.boot()
    assert unguarded == []


def test_what_is_taken_down_stays_frozen_until_that_is_recorded(
    runtime: Runtime, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_record: object) -> None:
        raise OSError(28, "disk full")

    active(runtime, machine)
    runtime.freeze(context(), USER)
    with monkeypatch.context() as patch:
        patch.setattr(runtime.records, "put", full)
        with pytest.raises(OperationFailed, match="disk full"):
            runtime.deactivate(context(), action("deactivate"))
    assert runtime.freezes.holder(USER) == "job-1"
    runtime.deactivate(context(), action("deactivate"))
    assert runtime.freezes.holder(USER) is None


def test_deactivating_what_was_never_here_is_done(runtime: Runtime, machine: Machine) -> None:
    runtime.deactivate(context(), action("deactivate"))
    assert machine.events == []


def test_withdrawing_takes_a_failed_target_down(runtime: Runtime, machine: Machine) -> None:
    runtime.restore(context(), action("restore"), entry(), {"drupal-migrate": SNAPSHOT})
    runtime.activate(context(), action("activate"), entry())
    machine.events.clear()
    runtime.withdraw(context(), USER)
    assert machine.events == TAKEN_DOWN
    assert phase(runtime) is Phase.INACTIVE
    assert runtime.freezes.holder(USER) is None


def test_a_frozen_stale_copy_is_never_thawed_by_withdrawing(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    runtime.freezes.freeze(USER, "job-1")
    # killed here, before the record names the job: the old copy is still served
    machine.fails = {"StopUnits": OperationFailed("does not stop")}
    with pytest.raises(OperationFailed):
        runtime.withdraw(context(), USER)
    assert runtime.freezes.holder(USER) == "job-1"


def test_one_bad_record_keeps_no_other_site_from_being_served(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    (runtime.records.directory / "aa-broken-0000000.json").write_text("{")
    record = runtime.records.get(USER)
    assert record is not None
    runtime.records.put(replace(record, user="zz-lost-0000000"))
    with pytest.raises(OperationFailed, match=r"aa-broken.*zz-lost"):
        runtime.boot()
    assert machine.events[-2:] == [f"write {USER}", "nginx"]


def test_what_an_earlier_version_deactivated_is_closed_to_logins(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    machine.open = True
    assert runtime.prune(1000.0, (), never) == []
    assert machine.events == [], "people log in where it is active"
    runtime.deactivate(context(), action("deactivate"))
    machine.events.clear()
    assert runtime.prune(1000.0, (), never) == []
    assert machine.events == TAKEN_DOWN[1:]


def test_people_log_in_where_an_environment_comes_to(runtime: Runtime, machine: Machine) -> None:
    for operation in (
        lambda: runtime.restore(context(), action("restore"), entry(), {"drupal-migrate": SNAPSHOT}),
        lambda: runtime.activate(context(), action("activate"), entry()),
    ):
        machine.events.clear()
        operation()
        assert machine.events.index("logins") < machine.events.index("manager")


def test_what_was_set_aside_goes_after_its_retention(
    runtime: Runtime, machine: Machine, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.time, "time", lambda: 1000.0)
    runtime.restore(context(), action("restore"), entry(), {"drupal-migrate": SNAPSHOT})
    machine.events.clear()
    days = runtime.config.set_aside_retention_days * 86400
    runtime.prune(1000.0 + days, (), never)
    assert machine.events == []
    assert runtime.prune(1001.0 + days, (), never) == []
    assert machine.events == ["Tidy"]
    assert machine.asked(Tidy)[0].paths == (str(layout.set_aside("job-1")),)
    runtime.prune(1001.0 + days, (), never)
    assert len(machine.events) == 1


def test_what_cannot_be_deleted_is_said_and_tried_again_after_a_while(
    runtime: Runtime, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    active(runtime, machine)
    runtime.leftovers.note(USER, "cannot delete x", 1000.0)
    assert runtime.left_behind(USER) == "cannot delete x"
    assert runtime.prune(1001.0, (), never) == []
    assert machine.events == [], "it was tried a moment ago"
    assert runtime.prune(1000.0 + 3600, (), never) == [f"{USER}: cannot delete x"]
    assert machine.events == ["Tidy"]

    machine.fails = {"Tidy": OperationFailed("home is gone")}
    assert runtime.prune(1000.0 + 3600, (), never) == [f"{USER}: home is gone"]
    assert runtime.prune(1001.0 + 3600, (), never) == []

    machine.fails = {}
    monkeypatch.setattr(machine, "user_apply", None)
    runtime.leftovers.note(USER, None, 5000.0)
    assert runtime.left_behind(USER) is None
    assert runtime.prune(1000.0 + 7200, (), never) == []


def test_a_projects_copy_goes_with_the_last_environment_that_is_laid_out_from_it(
    runtime: Runtime, machine: Machine, config: Config
) -> None:
    active(runtime, machine)
    copy = config.git_dir / "demo__drupal.git"
    copy.mkdir(parents=True)
    runtime.prune(1000.0, (), never)
    assert copy.exists()
    runtime.deactivate(context(), action("deactivate"))
    runtime.prune(1000.0, (), never)
    assert not copy.exists()


def test_a_home_that_cannot_be_tidied_hides_no_others(
    runtime: Runtime, machine: Machine, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.time, "time", lambda: 1000.0)
    runtime.restore(context(), action("restore"), entry(), {"drupal-migrate": SNAPSHOT})
    machine.events.clear()
    (runtime.config.environments_dir / "another-main-1234567.json").write_text("damaged")
    days = runtime.config.set_aside_retention_days * 86400
    (problem,) = runtime.prune(1001.0 + days, (), never)
    assert problem.startswith("another-main-1234567: ")
    assert machine.asked(Tidy)[0].paths == (str(layout.set_aside("job-1")),)
    assert runtime.prune(1002.0 + days, (), never) == []


def test_an_entry_of_another_environment_is_refused(runtime: Runtime, changed: Callable[..., Any]) -> None:
    other = changed("hostenv", "userName", to="other-main-1234567")
    with pytest.raises(OperationFailed, match="other-main-1234567"):
        runtime.activate(context(), action("activate"), other)


def test_a_program_at_its_time_limit_is_a_time_out(runtime: Runtime, machine: Machine) -> None:
    machine.fails = {"manager": CommandTimedOut("systemctl did not end")}
    with pytest.raises(OperationTimedOut):
        runtime.activate(context(), action("activate"), entry())


def test_environments_of_open_jobs_are_left_to_them(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    machine.open = True
    runtime.deactivate(context(), action("deactivate"))
    runtime.leftovers.note(USER, "cannot delete x", 1000.0)
    machine.events.clear()
    assert runtime.prune(1000.0 + 3600, {USER}, never) == []
    assert machine.events == []
    runtime.prune(1000.0 + 3600, (), never)
    assert machine.events != []


def test_upkeep_ends_when_the_activation_is_wanted_elsewhere(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    runtime.leftovers.note(USER, "cannot delete x", 1000.0)
    assert runtime.prune(1000.0 + 3600, (), lambda: True) == []
    assert machine.events == []
    assert runtime.prune(1000.0 + 3600, (), never) == [f"{USER}: cannot delete x"]
