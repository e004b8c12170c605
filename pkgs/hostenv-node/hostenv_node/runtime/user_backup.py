"""The final backup, as the environment's user."""

import json
import os
from collections.abc import Mapping

from hostenv_node.errors import last_lines
from hostenv_node.operations import OperationFailed
from hostenv_node.run import CommandFailed
from hostenv_node.runtime.user_process import UserProcess, texts_of

_ERROR_CHARACTERS = 1000


def backup(process: UserProcess, arguments: Mapping[str, object]) -> dict[str, str]:
    """Run the unit of each migration key; the snapshot ids by key.

    The repository is made first when the backup server has none, and only then: after another failure restic
    would hide why by saying that there is one.
    Raises OperationFailed with the end of what the backup said.
    """
    snapshots = {}
    keys = texts_of(arguments, "keys")
    if not arguments["repository"]:
        process.run_program([str(process.layout.bin_dir / f"restic-{keys[0]}"), "init", "--quiet"])
    for key in keys:
        try:
            # One that an earlier job has left running holds what was there before that job thawed.
            process.systemctl("restart", process.layout.backup_unit(key))
        except CommandFailed as error:
            raise OperationFailed(f"backup {key} failed: {_complaint(process, key) or error}") from error
        snapshots[key] = _snapshot(process, key)
    return snapshots


def _snapshot(process: UserProcess, key: str) -> str:
    for line in process.layout.backup_summary(key).read_text().splitlines():
        message = json.loads(line)
        if message.get("message_type") == "summary":
            return str(message["snapshot_id"])
    raise OperationFailed(f"restic named no snapshot for {key}; see {process.layout.backup_summary(key)}")


def _complaint(process: UserProcess, key: str) -> str:
    path = process.layout.backup_summary(key)
    try:
        with path.with_name(f"{path.name}.errors").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8 * _ERROR_CHARACTERS))
            return last_lines(file.read(), _ERROR_CHARACTERS)
    except FileNotFoundError:
        return ""
