"""An environment's folders below `/run/hostenv`, which a reboot empties (contract 8)."""

import grp
import os
from pathlib import Path

from hostenv_node.config import Config
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed


def make_run_dirs(config: Config, layout: Layout) -> None:
    """`user/<user>` for its own sockets, `nginx/<user>` shared with the front door's group.

    Raises OperationFailed when that group does not exist.
    """
    front_door = front_door_gid(config)
    for directory in (layout.run_dir, layout.runtime_dir.parent, layout.upstream_dir.parent):
        directory.mkdir(mode=0o755, exist_ok=True)
    _own(layout.runtime_dir, layout.uid, layout.uid, 0o2700)
    _own(layout.upstream_dir, layout.uid, front_door, 0o2770)


def front_door_gid(config: Config) -> int:
    """The group of the front door. Raises OperationFailed when there is none."""
    try:
        return grp.getgrnam(config.front_door_group).gr_gid
    except KeyError:
        raise OperationFailed(
            f"there is no group {config.front_door_group}; correct frontDoorGroup in node.json"
        ) from None


def _own(directory: Path, uid: int, gid: int, mode: int) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    os.chown(directory, uid, gid)
    os.chmod(directory, mode)
