"""Stopping and restarting an environment's units; a script plays its manager."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.user import units
from hostenv_node.user.process import UserProcess
from runtime_support import FPM, Systemctl

UNITS = ["hostenv-environment.target", "nginx.service", FPM, "mysql.service"]


def test_stopping_leaves_nothing_that_starts_or_reads_by_itself(
    process: UserProcess, manager: Systemctl, layout: Layout
) -> None:
    link = layout.units_dir / "default.target.wants" / "hostenv-environment.target"
    link.parent.mkdir(parents=True)
    link.symlink_to("../hostenv-environment.target")
    secrets = [layout.config_dir / name for name in ("backup.env", "application.env", "hash-salt")]
    keys = layout.home / ".ssh/authorized_keys"
    keys.parent.mkdir()
    layout.state_dir.mkdir(parents=True)
    for path in (*secrets, keys, layout.standing_still):
        path.touch()
    layout.delta(1).parent.mkdir(parents=True)
    layout.delta(1).touch()
    (manager.folder / "states").write_text("Id=nginx.service\nActiveState=inactive\n")
    units.stop(process, manager_runs=True)
    assert not layout.sync_dir.exists()
    assert not link.is_symlink()
    assert not any(path.exists() for path in (*secrets, keys, layout.standing_still))
    stopped = next(call for call in manager.calls() if call.startswith("stop ")).split()
    own = ["hostenv-candidate.service", "mysql-restore.service", *UNITS]
    assert stopped[1:] == ["--no-block", "--", *own, "restic-backups-*.service"]


def test_what_is_starting_is_not_stopped_until_it_hears_it(process: UserProcess, manager: Systemctl) -> None:
    (manager.folder / "starting").write_text("start\nstart-post\nrunning\n")
    units.stop_stale(process, ["mysql.service"])
    verbs = [call.split()[0] for call in manager.calls()]
    assert verbs[: verbs.index("stop")] == ["show"] * 3
    assert "kill" not in verbs


def test_what_is_starting_is_not_restarted_either(
    process: UserProcess, manager: Systemctl, tmp_path: Path
) -> None:
    process.layout.state_dir.mkdir(parents=True)
    (tmp_path / "my.cnf").touch()
    (manager.folder / "starting").write_text("start\nrunning\n")
    units.bring_up(process, {"mysql.service": (str(tmp_path / "my.cnf"),)})
    assert [call.split()[0] for call in manager.calls()] == ["show", "show", "restart"]


def test_what_is_stale_and_does_not_stop_is_killed(
    process: UserProcess, manager: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    (manager.folder / "states").write_text("Id=mysql.service\nActiveState=deactivating\n")

    def at_the_limit(_process: UserProcess, condition: Callable[[], bool], _seconds: float) -> bool:
        holds = condition()
        if "kill --signal=KILL -- mysql.service" in manager.calls():
            (manager.folder / "states").write_text("Id=mysql.service\nActiveState=failed\n")
        return holds

    monkeypatch.setattr(UserProcess, "wait_until", at_the_limit)
    units.stop_stale(process, ["mysql.service"])


def test_what_was_killed_at_its_end_did_not_end_well(process: UserProcess, manager: Systemctl) -> None:
    (manager.folder / "result").write_text("success\n")
    units.await_end(process, "mysql-restore.service")
    (manager.folder / "result").write_text("oom-kill\n")
    with pytest.raises(units.UnitFailed, match=r"mysql-restore\.service did not end well \(oom-kill\)"):
        units.await_end(process, "mysql-restore.service")


@pytest.mark.parametrize("state", ["active", "activating", "deactivating", "reloading"])
def test_stopping_is_no_success_while_a_unit_runs(
    process: UserProcess, manager: Systemctl, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(UserProcess, "wait_until", lambda _process, condition, _seconds: condition())
    (manager.folder / "states").write_text(
        f"Id=nginx.service\nActiveState=failed\n\nId=mysql.service\nActiveState={state}\n"
    )
    with pytest.raises(OperationFailed, match=f"do not stop: Id=mysql.service ActiveState={state}"):
        units.stop(process, manager_runs=True)
