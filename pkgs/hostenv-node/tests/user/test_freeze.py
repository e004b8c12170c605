"""What the customer runs stands still while it is frozen; a script plays its manager."""

import json
from pathlib import Path

import pytest
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.user import freeze
from hostenv_node.user.process import UserProcess
from runtime_support import FPM, Systemctl

OURS = [
    "mysql.service",
    FPM,
    "nginx.service",
    "mysql-restore.service",
    "restic-backups-drupal-migrate.service",
]


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    system = tmp_path / "system-units"
    system.mkdir()
    for name in ("dbus.service", "tidy.timer"):
        (system / name).touch()
    monkeypatch.setattr(freeze, "SYSTEM_UNIT_DIRS", (system,))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    layout.state_dir.mkdir(parents=True)


def runs(manager: Systemctl, *units: str) -> None:
    (manager.folder / "units").write_text("".join(f"{unit} loaded active running A unit\n" for unit in units))


def told(manager: Systemctl, verb: str) -> list[list[str]]:
    return [call.split(" -- ")[1].split() for call in manager.calls() if call.startswith(f"{verb} ")]


def test_the_customers_units_stand_still_and_start_again_and_no_others(
    process: UserProcess, manager: Systemctl
) -> None:
    customers = ["feeds.timer", "inbox.path", "queue.service", "relay.socket", "tidy.timer"]
    runs(manager, *OURS, "dbus.service", *customers)
    (manager.folder / "jobs").write_text(
        "7 late.service start waiting\n8 again.service restart waiting\n9 gone.service stop running\n"
    )
    freeze.freeze(process)
    stopped = sorted([*customers, "again.service", "late.service"])
    assert told(manager, "stop") == [stopped]
    freeze.thaw(process)
    assert [sorted(units) for units in told(manager, "start")] == [stopped]


def test_a_socket_starts_before_its_service(process: UserProcess, manager: Systemctl) -> None:
    runs(manager, "relay.service", "relay.socket")
    freeze.freeze(process)
    freeze.thaw(process)
    assert told(manager, "start") == [["relay.socket", "relay.service"]]


def test_a_freeze_that_is_done_again_remembers_what_the_first_one_stopped(
    process: UserProcess, manager: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs(manager, "queue.service")

    def no_power(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(freeze, "stop_all", no_power)
        with pytest.raises(KeyboardInterrupt):
            freeze.freeze(process)
    runs(manager)
    freeze.freeze(process)
    freeze.thaw(process)
    assert told(manager, "start") == [["queue.service"]]


def test_what_was_started_by_hand_since_does_not_stop_again_when_a_thaw_is_done_again(
    process: UserProcess, manager: Systemctl
) -> None:
    runs(manager, "queue.service")
    freeze.freeze(process)
    process.layout.sync_dir.mkdir(parents=True)
    freeze.thaw(process)
    assert not process.layout.sync_dir.exists()
    freeze.thaw(process)
    assert told(manager, "start") == [["queue.service"], ["timers.target"]]
    assert len(told(manager, "stop")) == 1


def test_what_was_made_for_the_moment_is_there_again(
    process: UserProcess, manager: Systemctl, tmp_path: Path
) -> None:
    transient = tmp_path / "run/systemd/transient"
    transient.mkdir(parents=True)
    for name in ("run-1.timer", "run-1.service", "other.service"):
        (transient / name).write_text(f"# {name}")
    runs(manager, "run-1.timer")
    freeze.freeze(process)
    for path in transient.iterdir():
        path.unlink()
    freeze.thaw(process)
    made = {path.name: path.read_text() for path in (tmp_path / "run/systemd/user").iterdir()}
    assert made == {"run-1.timer": "# run-1.timer", "run-1.service": "# run-1.service"}
    calls = manager.calls()
    assert calls.index("daemon-reload") < calls.index("start --no-block -- run-1.timer")


def test_where_it_is_brought_to_what_is_enabled_starts_when_it_thaws(
    process: UserProcess, manager: Systemctl
) -> None:
    runs(manager, "queue.service")
    freeze.hold(process, ["default.target"])
    assert told(manager, "stop") == [["queue.service"]]
    freeze.thaw(process)
    assert told(manager, "start") == [["default.target", "queue.service"]]


def test_what_cannot_be_stopped_fails_the_freeze(
    process: UserProcess, manager: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(UserProcess, "wait_until", lambda _process, condition, _seconds: condition())
    runs(manager, "queue.service")
    (manager.folder / "states").write_text("Id=queue.service\nActiveState=deactivating\n")
    with pytest.raises(OperationFailed, match=r"do not stop: Id=queue\.service"):
        freeze.freeze(process)
    assert told(manager, "kill") == [["queue.service"]]


def test_no_text_keeps_it_frozen(process: UserProcess, manager: Systemctl, tmp_path: Path) -> None:
    transient = tmp_path / "run/systemd/transient"
    transient.mkdir(parents=True)
    (transient / "run-1.service").write_bytes(b"# \xff")
    runs(manager, "run-1.service")
    freeze.freeze(process)
    freeze.thaw(process)
    assert (tmp_path / "run/systemd/user/run-1.service").read_bytes() == b"# \xff"
    freeze.freeze(process)
    (tmp_path / "run/systemd/user/run-1.service").unlink()
    (tmp_path / "run/systemd/user").rmdir()
    (tmp_path / "run/systemd/user").touch()
    freeze.thaw(process)
    assert told(manager, "start") == [["run-1.service"]] * 2


@pytest.mark.parametrize("spoilt", ["", "[]", '{"units": 1}', json.dumps({"units": [], "texts": "x"})])
def test_a_memory_that_its_owner_spoilt_keeps_nothing_frozen(
    process: UserProcess, manager: Systemctl, layout: Layout, spoilt: str
) -> None:
    layout.standing_still.write_text(spoilt)
    freeze.thaw(process)
    assert told(manager, "start") == [["default.target"]]


def test_what_is_still_in_flight_at_the_limit_is_ended(
    process: UserProcess, manager: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []

    def at_the_limit(_process: UserProcess, _condition: object, seconds: float) -> bool:
        limits.append(seconds)
        return False

    monkeypatch.setattr(UserProcess, "wait_until", at_the_limit)
    with manager.serving("nginx") as nginx, manager.serving("fpm"):
        freeze.freeze(process)
        nginx.wait(60)
    assert len(limits) == 2
    told = [call for call in manager.calls() if "MainPID" not in call and not call.startswith("list-")]
    assert told == ["reload nginx.service", f"reload {FPM}", f"try-restart {FPM}"]
