"""A runtime whose machine is played."""

from typing import Any, cast

import pytest
from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.runtime import operations as module
from hostenv_node.runtime.live_move import Transfers
from hostenv_node.runtime.operations import Runtime
from runtime_support import USER, Machine

SECRETS = dict.fromkeys(("backupUrl", "backupUser", "backupPassword", "resticPassword", "hashSalt"), "x")


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
        # What goes between two nodes is tried between two nodes.
        cast(Transfers, None),
        machine.backup_server,
    )
    monkeypatch.setattr(made, "front_door", Door())
    return made
