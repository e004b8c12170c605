"""The folders of an environment's sockets (contract 8, directories)."""

import grp
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hostenv_node.config import Config
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.runtime.run_dirs import make_run_dirs


@dataclass
class Given:
    """What was asked for; really to give folders away takes root, and setgid is not allowed everywhere."""

    owners: dict[Path, tuple[int, int]] = field(default_factory=dict)
    modes: dict[Path, int] = field(default_factory=dict)

    def chown(self, path: Path, uid: int, gid: int) -> None:
        self.owners[path] = (uid, gid)

    def chmod(self, path: Path, mode: int) -> None:
        self.modes[path] = mode


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    groups: Mapping[str, SimpleNamespace] = {"www-data": SimpleNamespace(gr_gid=33)}
    made = Given()
    monkeypatch.setattr(os, "chown", made.chown)
    monkeypatch.setattr(os, "chmod", made.chmod)
    monkeypatch.setattr(grp, "getgrnam", groups.__getitem__)
    return made


def test_sockets_are_the_users_own_or_shared_with_the_front_door(
    config: Config, layout: Layout, given: Given
) -> None:
    make_run_dirs(config, layout)
    assert given.owners == {layout.runtime_dir: (1002, 1002), layout.upstream_dir: (1002, 33)}
    assert given.modes == {layout.runtime_dir: 0o2700, layout.upstream_dir: 0o2770}


@pytest.mark.usefixtures("given")
def test_a_front_door_without_its_group_is_named(config: Config, layout: Layout) -> None:
    with pytest.raises(OperationFailed, match="correct frontDoorGroup"):
        make_run_dirs(replace(config, front_door_group="nobody-knows"), layout)
