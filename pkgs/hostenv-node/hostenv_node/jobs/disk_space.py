"""Room on the disks that root writes on a node: its records, and its copies of projects."""

import os

from hostenv_node.config import Config
from hostenv_node.errors import OperationFailed

ACTION_BYTES = 64 << 20
"""Bytes that must be free there before an action begins, so that it can be recorded to its end."""


def demand_room(config: Config) -> None:
    """Raises OperationFailed, saying what to do, unless an action may begin."""
    for folder in (config.state_dir, config.git_dir):
        if not folder.exists():
            continue
        disk = os.statvfs(folder)
        free = disk.f_bavail * disk.f_frsize
        if free < ACTION_BYTES:
            raise OperationFailed(
                f"{folder} on {config.node}: an action needs {ACTION_BYTES >> 20} MiB on this disk,"
                f" {free >> 20} MiB are free; make room there, then deploy again"
            )
