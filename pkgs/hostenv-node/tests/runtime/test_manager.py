"""The user manager of an environment comes with lingering and goes with it; scripts play systemd."""

from dataclasses import replace
from pathlib import Path

import pytest
from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.runtime import manager as module
from hostenv_node.runtime.manager import UserManager
from runtime_support import USER

UNIT = "user@1002.service"


class Systemd:
    """`loginctl` keeps lingering as a file, `systemctl` the manager's state as another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.linger = folder / "linger" / USER
        self.linger.parent.mkdir(parents=True)
        self.state.write_text("active\n")
        self.linger.touch()
        self.scripts = {
            "loginctl": f'case "$1" in enable-linger) touch {self.linger} ;; *) rm {self.linger} ;; esac',
            "systemctl": (
                f'case "$1" in start) echo active >{self.state} ;; stop) echo inactive >{self.state} ;;'
                f" *) cat {self.state} ;; esac"
            ),
        }

    def tools(self) -> dict[str, str]:
        for name, script in self.scripts.items():
            program = self.folder / name
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
        return {name: str(self.folder / name) for name in self.scripts}


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    made = Systemd(tmp_path / "systemd")
    monkeypatch.setattr(module, "_LINGER_DIR", made.linger.parent)
    return made


def manager(config: Config, layout: Layout, systemd: Systemd) -> UserManager:
    return UserManager(replace(config, tools=systemd.tools()), layout)


def test_it_starts_to_stay_over_a_reboot(config: Config, layout: Layout, systemd: Systemd) -> None:
    systemd.linger.unlink()
    systemd.state.write_text("inactive\n")
    manager(config, layout, systemd).start(Deadline.after(60))
    assert systemd.linger.exists()
    assert systemd.state.read_text() == "active\n"


def test_no_reboot_revives_what_was_stopped(config: Config, layout: Layout, systemd: Systemd) -> None:
    stopped = manager(config, layout, systemd)
    stopped.stop(Deadline.after(60))
    assert not systemd.linger.exists()
    assert systemd.state.read_text() == "inactive\n"
    assert not stopped.runs(Deadline.after(60))


@pytest.mark.parametrize(
    ("state", "verb", "becomes", "runs"),
    [
        ("activating", "start", "active", True),
        ("activating", "start", "failed", False),
        ("deactivating", "stop", "inactive", False),
    ],
)
def test_what_is_on_its_way_is_waited_for_before_it_is_talked_to(
    config: Config, layout: Layout, systemd: Systemd, state: str, verb: str, becomes: str, runs: bool
) -> None:
    systemd.state.write_text(f"{state}\n")
    systemd.scripts["systemctl"] = (
        f'case "$1" in show) cat {systemd.state} ;; {verb}) echo {becomes} >{systemd.state};'
        f" [ {becomes} != failed ] ;; *) exit 2 ;; esac"
    )
    assert manager(config, layout, systemd).runs(Deadline.after(60)) is runs


@pytest.mark.parametrize(
    ("program", "complaint"), [("loginctl", f"{USER} still lingers"), ("systemctl", "does not stop")]
)
def test_stopping_is_no_success_until_it_is_seen(
    config: Config, layout: Layout, systemd: Systemd, program: str, complaint: str
) -> None:
    systemd.scripts[program] = f"case $1 in show) cat {systemd.state} ;; esac"
    with pytest.raises(OperationFailed, match=complaint):
        manager(config, layout, systemd).stop(Deadline.after(60))
