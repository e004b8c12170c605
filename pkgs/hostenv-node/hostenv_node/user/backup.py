"""The final backup, as the environment's user."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from hostenv_core.lines import last_lines
from hostenv_core.processes import CommandFailed

from hostenv_node.errors import OperationFailed
from hostenv_node.user import delta
from hostenv_node.user.binlog import Position
from hostenv_node.user.files import write_file
from hostenv_node.user.paths import clear, demand_folder, read_file
from hostenv_node.user.process import UserProcess

_ERROR_CHARACTERS = 1000


def backup(
    process: UserProcess, keys: Sequence[str], *, repository: bool, physical: bool, live: bool
) -> dict[str, str]:
    """Run the unit of each migration key; the snapshot ids by key.

    With `physical` the database is saved as a copy of its files, which only the same series of MariaDB
    accepts, else as a dump. The repository is made first when the backup server has none, and only then:
    after another failure restic would hide the reason by saying that there is one.
    Raises OperationFailed with the end of what the backup said.
    """
    snapshots = {}
    if live:
        delta.begin(process)
    if not repository:
        process.run_program([str(process.layout.bin_dir / f"restic-{keys[0]}"), "init", "--quiet"])
    for key in keys:
        summary = process.layout.backup_summary(key)
        for path in (summary, summary.with_name(f"{summary.name}.new"), _complaints(process, key)):
            # What the backup writes to must be no pipe that nobody reads.
            clear(process, path)
        clear(process, process.layout.copies(key))
        clear(process, process.layout.base_position(key))
        wanted = process.layout.dump_wanted(key)
        if physical:
            clear(process, wanted)
        else:
            write_file(process, wanted, b"", 0o600)
        try:
            # One that an earlier job has left running holds what was there before that job thawed.
            process.systemctl("restart", process.layout.backup_unit(key))
        except CommandFailed as error:
            raise OperationFailed(f"backup {key} failed: {_complaint(process, key) or error}") from error
        snapshots[key] = _snapshot(process, key)
    if live:
        delta.based(process, _position(process, keys[0]))
    return snapshots


def _position(process: UserProcess, key: str) -> Position:
    content = read_file(process.layout.base_position(key))
    if content is None:
        raise OperationFailed(
            f"MariaDB of {process.layout.user} keeps no binary log; push once, then move it"
        )
    return Position.of_line(content.decode(errors="replace"))


def check(process: UserProcess) -> None:
    """Raises OperationFailed when data of the environment are not where a backup finds them."""
    layout = process.layout
    for path in (layout.mysql_dir, layout.files_dir, layout.private_files_dir):
        demand_folder(path)
    if os.path.lexists(layout.sessions_dir):
        demand_folder(layout.sessions_dir)
    elsewhere = sorted(layout.mysql_dir.glob("*/*.isl"))
    if elsewhere:
        # These lead to files that belong to no folder of the environment.
        table = elsewhere[0]
        raise OperationFailed(
            f"the data of table {table.stem} in database {table.parent.name} are outside"
            " ~/.local/share/mysql (DATA DIRECTORY) and would stay behind; make the table without that"
        )


def _snapshot(process: UserProcess, key: str) -> str:
    path = process.layout.backup_summary(key)
    try:
        for line in (read_file(path) or b"").splitlines():
            message = json.loads(line)
            if message.get("message_type") == "summary":
                return str(message["snapshot_id"])
    except (ValueError, KeyError, AttributeError, RecursionError):
        pass
    raise OperationFailed(f"restic named no snapshot for {key}; see {path}")


def _complaint(process: UserProcess, key: str) -> str:
    return last_lines(read_file(_complaints(process, key)) or b"", _ERROR_CHARACTERS)


def _complaints(process: UserProcess, key: str) -> Path:
    path = process.layout.backup_summary(key)
    return path.with_name(f"{path.name}.errors")
