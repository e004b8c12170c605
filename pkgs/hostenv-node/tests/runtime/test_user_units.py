"""Stopping and freezing an environment's units; a script plays its manager, the servers are processes."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hostenv_node.operations import Deadline, OperationFailed
from hostenv_node.runtime import user_units
from hostenv_node.runtime.layout import Layout
from hostenv_node.runtime.user_process import UserProcess

FPM = "phpfpm-drupal.service"
UNITS = ["hostenv-environment.target", "nginx.service", FPM, "mysql.service"]


class Manager:
    """What `systemctl --user` is told; it answers with the files in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("calls", "timers", "states", "starting", "result", "nginx", "fpm"):
            (folder / name).write_text("0\n" if name in ("nginx", "fpm") else "")
        self.program = folder / "systemctl"
        self.program.write_text(
            "#!/bin/sh\nshift 2\n"
            f'cd {folder}; echo "$*" >>calls\n'
            'case "$*" in\n'
            "  list-units*) cat timers ;;\n"
            "  *ActiveState*) cat states ;;\n"
            # each look finds one start fewer under way
            "  *SubState*) echo SubState=$(head -1 starting); sed -i 1d starting ;;\n"
            "  *Result*) cat result ;;\n"
            f"  *MainPID*{FPM}) cat fpm ;;\n"
            "  *MainPID*) cat nginx ;;\n"
            "esac\n"
        )
        self.program.chmod(0o755)

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    @contextmanager
    def serving(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """A server with one worker that no reload ends; the server ends with its worker."""
        command = ["sh", "-c", "sleep 3600 & echo; wait"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        try:
            assert server.stdout is not None
            server.stdout.readline()
            (self.folder / name).write_text(f"{server.pid}\n")
            yield server
        finally:
            subprocess.run(["kill", "--", f"-{server.pid}"], check=False, stderr=subprocess.DEVNULL)
            server.communicate(timeout=60)


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    folder = tmp_path / "manager"
    folder.mkdir()
    return Manager(folder)


@pytest.fixture
def process(manager: Manager, layout: Layout) -> UserProcess:
    layout.config_dir.mkdir(parents=True)
    return UserProcess(layout, {"systemctl": str(manager.program)}, Deadline.after(600))


def test_frozen_timers_stand_still(process: UserProcess, manager: Manager) -> None:
    (manager.folder / "timers").write_text("cron.timer loaded active waiting\nfeeds.timer loaded active\n")
    user_units.freeze(process, {})
    assert "stop cron.timer feeds.timer" in manager.calls()


def test_what_is_still_in_flight_at_the_limit_is_ended(
    process: UserProcess, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []

    def at_the_limit(_process: UserProcess, _condition: object, seconds: float) -> bool:
        limits.append(seconds)
        return False

    monkeypatch.setattr(UserProcess, "wait_until", at_the_limit)
    with manager.serving("nginx") as nginx, manager.serving("fpm"):
        user_units.freeze(process, {})
        nginx.wait(60)
    assert len(limits) == 2
    told = [call for call in manager.calls() if "MainPID" not in call and "list-units" not in call]
    assert told == ["reload nginx.service", f"reload {FPM}", f"try-restart {FPM}"]


def test_stopping_leaves_nothing_that_starts_or_reads_by_itself(
    process: UserProcess, manager: Manager, layout: Layout
) -> None:
    link = layout.units_dir / "default.target.wants" / "hostenv-environment.target"
    link.parent.mkdir(parents=True)
    link.symlink_to("../hostenv-environment.target")
    secrets = [layout.config_dir / name for name in ("backup.env", "application.env", "hash-salt")]
    for path in secrets:
        path.touch()
    (manager.folder / "states").write_text("Id=nginx.service\nActiveState=inactive\n")
    user_units.stop(process, {"manager": True})
    assert not link.is_symlink()
    assert not any(path.exists() for path in secrets)
    stopped = next(call for call in manager.calls() if call.startswith("stop ")).split()
    assert stopped[1:] == ["--no-block", "mysql-restore.service", *UNITS, "restic-backups-*.service"]


def test_what_is_starting_is_not_stopped_until_it_hears_it(process: UserProcess, manager: Manager) -> None:
    (manager.folder / "starting").write_text("start\nstart-post\nrunning\n")
    user_units.stop_stale(process, ["mysql.service"])
    verbs = [call.split()[0] for call in manager.calls()]
    assert verbs[: verbs.index("stop")] == ["show"] * 3
    assert "kill" not in verbs


def test_what_is_starting_is_not_restarted_either(
    process: UserProcess, manager: Manager, tmp_path: Path
) -> None:
    process.layout.state_dir.mkdir(parents=True)
    (tmp_path / "my.cnf").touch()
    (manager.folder / "starting").write_text("start\nrunning\n")
    user_units.bring_up(process, {"mysql.service": [str(tmp_path / "my.cnf")]})
    assert [call.split()[0] for call in manager.calls()] == ["show", "show", "restart"]


def test_what_is_stale_and_does_not_stop_is_killed(
    process: UserProcess, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    (manager.folder / "states").write_text("Id=mysql.service\nActiveState=deactivating\n")

    def at_the_limit(_process: UserProcess, condition: Callable[[], bool], _seconds: float) -> bool:
        if "kill --signal=KILL mysql.service" in manager.calls():
            (manager.folder / "states").write_text("Id=mysql.service\nActiveState=failed\n")
        return condition()

    monkeypatch.setattr(UserProcess, "wait_until", at_the_limit)
    user_units.stop_stale(process, ["mysql.service"])


def test_what_was_killed_at_its_end_did_not_end_well(process: UserProcess, manager: Manager) -> None:
    (manager.folder / "result").write_text("success\n")
    user_units.await_end(process, "mysql-restore.service")
    (manager.folder / "result").write_text("oom-kill\n")
    with pytest.raises(user_units.UnitFailed, match=r"mysql-restore\.service did not end well \(oom-kill\)"):
        user_units.await_end(process, "mysql-restore.service")


@pytest.mark.parametrize("state", ["active", "activating", "deactivating", "reloading"])
def test_stopping_is_no_success_while_a_unit_runs(
    process: UserProcess, manager: Manager, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(UserProcess, "wait_until", lambda _process, condition, _seconds: condition())
    (manager.folder / "states").write_text(
        f"Id=nginx.service\nActiveState=failed\n\nId=mysql.service\nActiveState={state}\n"
    )
    with pytest.raises(OperationFailed, match=f"do not stop: Id=mysql.service ActiveState={state}"):
        user_units.stop(process, {"manager": True})
