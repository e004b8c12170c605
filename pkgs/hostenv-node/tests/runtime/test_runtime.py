"""The operations' own order and records, with the user's side, systemd and nginx played by recorders."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hostenv_node.config import Config
from hostenv_node.intent import Action
from hostenv_node.lock import locked_if_free
from hostenv_node.operations import Context, Deadline, OperationFailed, OperationTimedOut
from hostenv_node.run import CommandTimedOut
from hostenv_node.runtime import runtime as module
from hostenv_node.runtime.environment import parse_environment
from hostenv_node.runtime.layout import Layout
from hostenv_node.runtime.record import Applied, Phase, Record
from hostenv_node.runtime.render import release_name
from hostenv_node.runtime.runtime import Runtime
from runtime_support import HOST, USER, entry

SNAPSHOT = "ab" * 32
SECRETS = dict.fromkeys(("backupUrl", "backupUser", "backupPassword", "resticPassword", "hashSalt"), "x")


class Machine:
    """What would happen on a node, in order; `fails` names what goes wrong."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.fails: Mapping[str, Exception] = {}
        self.manager_runs = True
        self.arguments: dict[str, list[Mapping[str, object]]] = {}
        """What the user's side was given, by step."""

    def note(self, event: str) -> None:
        self.events.append(event)
        if event in self.fails:
            raise self.fails[event]

    def user_apply(
        self, _config: Config, _layout: Layout, _deadline: Deadline, steps: Sequence[tuple[str, Any]]
    ) -> Mapping[str, object]:
        for name, arguments in steps:
            self.note(name)
            self.arguments.setdefault(name, []).append(arguments)
        return {"backup": {"drupal-migrate": SNAPSHOT}}


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def runtime(machine: Machine, config: Config, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    class Manager:
        def __init__(self, *_: object) -> None:
            pass

        def start(self, _deadline: Deadline) -> None:
            machine.note("manager")

        def runs(self, _deadline: Deadline) -> bool:
            return machine.manager_runs

        def stop(self, _deadline: Deadline) -> None:
            machine.note("no manager")

    class Door:
        def serve(self, environment: Any, _layout: Layout, _deadline: Deadline) -> None:
            machine.note(f"serve {','.join(environment.virtual_hosts)}")

        def withdraw(self, _user: str, hostname: str, _deadline: Deadline) -> None:
            machine.note(f"withdraw {hostname}")

        def write(self, wanted: dict[str, str]) -> None:
            machine.note(f"write {','.join(wanted)}")

        def reload_if_running(self) -> None:
            machine.note("nginx")

    def layout_of(_config: Config, user: str, _uid: int, _codebase: str) -> Layout:
        if user != USER:
            raise OperationFailed(f"there is no account {user}")
        return layout

    monkeypatch.setattr(module, "UserManager", Manager)
    monkeypatch.setattr(module, "user_apply", machine.user_apply)
    monkeypatch.setattr(module, "layout_of", layout_of)
    monkeypatch.setattr(module, "make_run_dirs", lambda *_: machine.note("run dirs"))
    monkeypatch.setattr(module.code, "unpack_source", lambda *_: machine.note("fetch"))
    monkeypatch.setattr(module, "run", lambda argv, **_: machine.note(" ".join(argv[-3:])))
    made = Runtime(
        config,
        lambda _user: SECRETS,
        lambda: machine.note("provider"),
        lambda _secrets: machine.note("backup server"),
    )
    monkeypatch.setattr(made, "front_door", Door())
    return made


def context(job: str = "job-1") -> Context:
    return Context(job, Deadline.after(600))


def action(op: str) -> Action:
    return Action(op, USER, "node-a", "node-b", ("drupal-migrate",))


def phase(runtime: Runtime) -> Phase | None:
    record = runtime.records.get(USER)
    return None if record is None else record.phase


def active(runtime: Runtime, machine: Machine, job: str = "job-0") -> None:
    runtime.activate(context(job), action("activate"), entry())
    runtime.thaw(context(job), USER)
    machine.events.clear()


def test_a_target_is_frozen_before_anybody_can_reach_it(runtime: Runtime, machine: Machine) -> None:
    holders: list[str | None] = []
    machine.note = lambda _event: holders.append(runtime.freezes.holder(USER))  # type: ignore[method-assign]
    runtime.activate(context(), action("activate"), entry())
    assert set(holders) == {"job-1"}
    assert phase(runtime) is Phase.ACTIVE
    assert runtime.freezes.holder(USER) == "job-1"


@pytest.mark.parametrize("step", ["start", f"serve demo.hostenv.local,{HOST}"])
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
    done = {"restore": "restore", "activate": "switch", "reload": "switch"}[op]
    assert machine.events.index("fetch") < machine.events.index("secrets") < machine.events.index(done)


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
    assert "restore" in machine.events
    given = [arguments["snapshot"] for arguments in machine.arguments["restore"]]
    assert given == [SNAPSHOT, "cd" * 32]


def test_what_another_job_restored_is_not_taken_for_done(runtime: Runtime, machine: Machine) -> None:
    runtime.restore(context("job-1"), action("restore"), entry(), {"drupal-migrate": SNAPSHOT})
    machine.events.clear()
    runtime.restore(context("job-2"), action("restore"), entry(), {"drupal-migrate": SNAPSHOT})
    assert "restore" in machine.events


def test_what_a_restore_sets_aside_is_noted_before_it_is_and_once(
    runtime: Runtime, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.fails = {"restore": OperationFailed("no")}
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
    assert machine.events.index(f"withdraw {HOST}") < machine.events.index("restore")


def test_a_backup_freezes_first_and_is_the_same_when_asked_again(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    payload = runtime.backup(context(), action("backup"))
    assert payload == {"user": USER, "sourceNode": "node-b", "snapshots": {"drupal-migrate": SNAPSHOT}}
    assert machine.events.index("freeze") < machine.events.index("backup")
    assert machine.arguments["backup"] == [{"keys": ["drupal-migrate"]}]
    machine.events.clear()
    assert runtime.backup(context(), action("backup")) == payload
    assert machine.events == []


@pytest.mark.parametrize("snapshot", ["x" * 1_000_000, "\ud800\n", ["x" * 1_000_000], None])
def test_what_is_no_snapshot_is_refused_in_a_short_line(
    runtime: Runtime, machine: Machine, monkeypatch: pytest.MonkeyPatch, snapshot: object
) -> None:
    active(runtime, machine)
    monkeypatch.setattr(module, "user_apply", lambda *_: {"backup": {"drupal-migrate": snapshot}})
    with pytest.raises(OperationFailed, match="drupal-migrate") as caught:
        runtime.backup(context(), action("backup"))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_a_backup_after_a_thaw_is_a_new_one(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    runtime.backup(context(), action("backup"))
    runtime.thaw(context(), USER)
    machine.events.clear()
    runtime.backup(context(), action("backup"))
    assert "backup" in machine.events


def test_a_backup_of_what_is_not_here_fails(runtime: Runtime) -> None:
    with pytest.raises(OperationFailed, match=USER):
        runtime.backup(context(), action("backup"))
    assert runtime.freezes.holder(USER) is None


def test_what_waits_to_be_deactivated_takes_no_more_writes(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    for _ in range(2):
        runtime.freeze(context(), USER)
    assert machine.events == ["run dirs", "manager", "freeze"]
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
        if event == "freeze":
            holders.append(runtime.freezes.holder(USER))

    machine.note = note  # type: ignore[method-assign]
    if operation == "freeze":
        runtime.freeze(context(), USER)
    else:
        runtime.backup(context(), action("backup"))
    assert holders == ["job-1"]


def test_a_freeze_whose_drain_failed_is_drained_when_asked_again(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    machine.fails = {"freeze": OperationFailed("no")}
    with pytest.raises(OperationFailed):
        runtime.freeze(context(), USER)
    machine.fails = {}
    machine.events.clear()
    runtime.freeze(context(), USER)
    assert "freeze" in machine.events


def test_a_stale_copy_that_is_backed_up_stays_frozen_when_that_job_fails(
    runtime: Runtime, machine: Machine
) -> None:
    active(runtime, machine)
    runtime.freezes.freeze(USER, "job-0")
    assert runtime.backup(context(), action("backup")) == runtime.backup(context(), action("backup"))
    assert machine.events.count("backup") == 1
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
    runtime.prune(1e12)
    assert runtime.freezes.holder(USER) == "job-1"


def test_only_an_active_copy_starts_its_timers_when_it_thaws(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    runtime.backup(context(), action("backup"))
    machine.events.clear()
    runtime.thaw(context("job-2"), USER)
    assert machine.events == []
    runtime.thaw(context(), USER)
    assert machine.events == ["--user start timers.target"]
    runtime.restore(context("job-3"), action("restore"), entry(), {"drupal-migrate": SNAPSHOT})
    machine.events.clear()
    runtime.thaw(context("job-3"), USER)
    assert machine.events == []
    assert runtime.freezes.holder(USER) is None


def test_a_thaw_that_was_cut_short_starts_the_timers_when_it_is_done_again(
    runtime: Runtime, machine: Machine
) -> None:
    active(runtime, machine)
    runtime.backup(context(), action("backup"))
    machine.fails = {"--user start timers.target": OperationFailed("killed")}
    with pytest.raises(OperationFailed):
        runtime.thaw(context(), USER)
    assert runtime.freezes.holder(USER) is None
    machine.events.clear()
    machine.fails = {}
    runtime.thaw(context(), USER)
    assert machine.events == ["--user start timers.target"]


def test_deactivation_ends_with_the_freeze_lifted_and_may_be_repeated(
    runtime: Runtime, machine: Machine
) -> None:
    active(runtime, machine)
    runtime.backup(context(), action("backup"))
    for _ in range(2):
        machine.events.clear()
        runtime.deactivate(context(), action("deactivate"))
        assert machine.events == [f"withdraw {HOST}", "stop", "no manager"]
    assert phase(runtime) is Phase.INACTIVE
    assert runtime.freezes.holder(USER) is None


@pytest.mark.parametrize("fault", [f"withdraw {HOST}", "stop", "no manager"])
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
    machine.fails = {"stop": OperationFailed("still there")}
    with pytest.raises(OperationFailed):
        runtime.deactivate(context(), action("deactivate"))
    machine.events.clear()
    runtime.boot()
    assert machine.events == ["run dirs", "write ", "nginx"]


@pytest.mark.parametrize("operation", ["activate", "reload", "switch back", "deactivate", "boot"])
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
    if operation == "switch back":
        runtime.reload(context(), action("reload"), newer)
    unguarded: list[str] = []
    note, put = machine.note, runtime.records.put

    def look(event: str) -> None:
        with locked_if_free(runtime.config.front_door_lock_file) as free:
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
        case "switch back":
            runtime.switch_back(context(), USER)
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
    assert machine.events == [f"withdraw {HOST}", "stop", "no manager"]
    assert phase(runtime) is Phase.INACTIVE
    assert runtime.freezes.holder(USER) is None


def test_a_frozen_stale_copy_is_never_thawed_by_withdrawing(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    runtime.freezes.freeze(USER, "job-1")
    # killed here, before the record names the job: the old copy is still served
    machine.fails = {"stop": OperationFailed("does not stop")}
    with pytest.raises(OperationFailed):
        runtime.withdraw(context(), USER)
    assert runtime.freezes.holder(USER) == "job-1"


def test_switching_back_serves_the_release_before(
    runtime: Runtime, machine: Machine, config: Config, changed: Callable[..., Any]
) -> None:
    active(runtime, machine)
    newer = changed("repo", "rev", to="b" * 40)
    runtime.reload(context(), action("reload"), {**newer, "virtualHosts": {"new.example": {}}})
    runtime.reload(context(), action("reload"), {**newer, "virtualHosts": {"new.example": {}}})
    assert f"serve {HOST},new.example" in machine.events
    machine.events.clear()
    runtime.switch_back(context(), USER)
    assert f"serve demo.hostenv.local,{HOST}" in machine.events
    assert "secrets" not in machine.events
    record = runtime.records.get(USER)
    assert record is not None
    assert record.applied == Applied(entry(), release_name(parse_environment(entry()), config))
    machine.events.clear()
    runtime.switch_back(context(), USER)
    assert machine.events == []


def test_a_reload_makes_the_release_beside_the_old_one_which_is_kept_until_the_verdict(
    runtime: Runtime, machine: Machine, config: Config, changed: Callable[..., Any]
) -> None:
    active(runtime, machine)
    newer = changed("repo", "rev", to="b" * 40)
    before, after = (release_name(parse_environment(each), config) for each in (entry(), newer))
    machine.arguments.clear()
    runtime.reload(context(), action("reload"), newer)
    assert machine.events.index("layOut") < machine.events.index("switch")
    runtime.switch_back(context(), USER)
    assert machine.arguments["switch"] == [{"name": after, "keep": [before]}, {"name": before, "keep": []}]


def test_a_verified_reload_keeps_only_its_own_release(
    runtime: Runtime, machine: Machine, config: Config, layout: Layout, changed: Callable[..., Any]
) -> None:
    active(runtime, machine)
    runtime.reload(context(), action("reload"), changed("repo", "rev", to="b" * 40))
    machine.events.clear()
    runtime.keep(context(), USER)
    old = layout.release(release_name(parse_environment(entry()), config))
    assert machine.events == [f"-rf -- {old}"]
    runtime.keep(context(), USER)
    runtime.switch_back(context(), USER)
    assert len(machine.events) == 1


def test_a_reload_is_settled_by_its_own_job_only(
    runtime: Runtime, machine: Machine, changed: Callable[..., Any]
) -> None:
    active(runtime, machine)
    runtime.reload(context(), action("reload"), changed("repo", "rev", to="b" * 40))
    machine.events.clear()
    runtime.keep(context("job-2"), USER)
    runtime.switch_back(context("job-2"), USER)
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
    machine.fails = {"layOut": OperationFailed("no such docroot")}
    with pytest.raises(OperationFailed):
        runtime.reload(context(), action("reload"), changed("repo", "rev", to="b" * 40))
    record = runtime.records.get(USER)
    assert record is not None
    assert record.applied.entry == entry()
    machine.events.clear()
    runtime.boot()
    assert machine.events == ["run dirs", f"write {USER}", "nginx"]


def test_one_bad_record_keeps_no_other_site_from_being_served(runtime: Runtime, machine: Machine) -> None:
    active(runtime, machine)
    (runtime.records.directory / "aa-broken-0000000.json").write_text("{")
    record = runtime.records.get(USER)
    assert record is not None
    runtime.records.put(replace(record, user="zz-lost-0000000"))
    with pytest.raises(OperationFailed, match=r"aa-broken.*zz-lost"):
        runtime.boot()
    assert machine.events[-2:] == [f"write {USER}", "nginx"]


def test_what_was_set_aside_goes_after_its_retention(
    runtime: Runtime, machine: Machine, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.time, "time", lambda: 1000.0)
    runtime.restore(context(), action("restore"), entry(), {"drupal-migrate": SNAPSHOT})
    machine.events.clear()
    days = runtime.config.set_aside_retention_days * 86400
    runtime.prune(1000.0 + days)
    assert machine.events == []
    runtime.prune(1001.0 + days)
    assert machine.events == [f"-rf -- {layout.set_aside('job-1')}"]
    runtime.prune(1001.0 + days)
    assert len(machine.events) == 1


def test_an_entry_of_another_environment_is_refused(runtime: Runtime, changed: Callable[..., Any]) -> None:
    other = changed("hostenv", "userName", to="other-main-1234567")
    with pytest.raises(OperationFailed, match="other-main-1234567"):
        runtime.activate(context(), action("activate"), other)


def test_a_program_at_its_time_limit_is_a_time_out(runtime: Runtime, machine: Machine) -> None:
    machine.fails = {"manager": CommandTimedOut("systemctl did not end")}
    with pytest.raises(OperationTimedOut):
        runtime.activate(context(), action("activate"), entry())
