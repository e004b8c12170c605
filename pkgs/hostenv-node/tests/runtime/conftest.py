"""An environment whose files are rendered into a temporary folder, and a runtime whose machine is played."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hostenv_node.config import Application, Config
from hostenv_node.operations import Deadline, OperationFailed
from hostenv_node.runtime import runtime as module
from hostenv_node.runtime.environment import Environment, parse_environment
from hostenv_node.runtime.layout import Layout
from hostenv_node.runtime.runtime import Runtime
from hostenv_node.runtime.user_process import UserProcess
from runtime_support import TOOLS, USER, Machine, Systemctl, Systemd, entry, program

SECRETS = dict.fromkeys(("backupUrl", "backupUser", "backupPassword", "resticPassword", "hashSalt"), "x")


@pytest.fixture
def config(configure: Callable[..., Config], tmp_path: Path) -> Config:
    (tmp_path / "state").mkdir()
    made = configure(tools={name: program(name, *candidates) for name, candidates in TOOLS.items()})
    web = tmp_path / "drupal" / "web"
    web.mkdir(parents=True)
    (web / "index.php").touch()
    return replace(made, applications={"drupal": Application.at(tmp_path / "drupal")})


@pytest.fixture
def environment() -> Environment:
    return parse_environment(entry())


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    # Sockets have short names: a temporary folder's may be too long for them.
    return Layout(
        "drupal-main-2855093", 1002, "drupal", tmp_path / "home", tmp_path / "frozen", tmp_path / "r"
    )


@pytest.fixture
def played(tmp_path: Path, layout: Layout) -> Systemd:
    layout.home.mkdir()
    return Systemd(tmp_path)


@pytest.fixture
def changed() -> Callable[..., Any]:
    """The entry with one value replaced, by its path of keys."""

    def change(*path: str, to: object) -> dict[str, Any]:
        made = entry()
        inner = made
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to
        return made

    return change


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
    monkeypatch.setattr(module.logins, "allow", lambda *_: machine.note("logins"))
    monkeypatch.setattr(module.logins, "end", lambda *_: machine.note("no logins"))
    monkeypatch.setattr(module.logins, "is_open", lambda _user: machine.open)
    monkeypatch.setattr(module, "make_run_dirs", lambda *_: machine.note("run dirs"))
    monkeypatch.setattr(module.code, "unpack_source", lambda *_: machine.note("fetch"))
    made = Runtime(
        config,
        lambda _user: SECRETS,
        lambda: machine.note("provider"),
        machine.backup_server,
    )
    monkeypatch.setattr(made, "front_door", Door())
    return made


@pytest.fixture
def manager(tmp_path: Path) -> Systemctl:
    folder = tmp_path / "manager"
    folder.mkdir()
    return Systemctl(folder)


@pytest.fixture
def process(manager: Systemctl, layout: Layout) -> UserProcess:
    layout.config_dir.mkdir(parents=True)
    return UserProcess(layout, {"systemctl": str(manager.program)}, Deadline.after(600))
