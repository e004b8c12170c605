"""Restoring a snapshot beside the live data, then putting it in their place, as the environment's user."""

import os
import stat
from pathlib import Path

from hostenv_core.files import sync_directory

from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.user import database, units
from hostenv_node.user.files import write_file
from hostenv_node.user.paths import clear, demand_no_mount, discard, make_folder, move, read_file, tidy
from hostenv_node.user.process import UserProcess

_DUMP_END = b"-- Dump completed"


def restore(process: UserProcess, job: str, key: str, snapshot: str) -> None:
    """Restore the snapshot; what is there is set aside once per job (contract 8).

    If it is interrupted anywhere and runs again for the same job and snapshot, the result is the same: the
    live data are touched only after everything is restored, by renames that a repetition finishes.
    """
    layout = process.layout
    done = layout.state_dir / "restored"
    identity = f"{job} {snapshot}\n".encode()
    if read_file(done) == identity:
        return
    for path in _live(layout):
        demand_no_mount(path)
    complete = layout.restore_dir / "complete"
    if read_file(complete) != identity:
        _prepare(process, key, snapshot)
        write_file(process, complete, identity, 0o600)
        os.sync()
    units.disable(process)
    units.stop_stale(process, layout.units[::-1])
    swap(process, job)
    write_file(process, done, identity, 0o600)
    # An installation that was begun for the old data does not belong to these.
    clear(process, layout.state_dir / "installing")
    clear(process, layout.sync_dir)
    os.sync()
    discard(process, [layout.restore_dir])


def swap(process: UserProcess, job: str) -> None:
    """Move the live data aside, unless this job did already, and the restored ones in their place."""
    layout = process.layout
    aside = layout.set_aside(job)
    marker = aside / "complete"
    make_folder(aside)
    if not os.path.lexists(marker):
        for path in _live(layout):
            if os.path.lexists(path):
                move(path, aside / path.name)
        write_file(process, marker, b"", 0o600)
        sync_directory(aside)
    for path in _live(layout):
        restored = layout.restore_dir / path.name
        if os.path.lexists(restored):
            move(restored, path)
    sync_directory(layout.data_dir)


def _live(layout: Layout) -> tuple[Path, ...]:
    return layout.mysql_dir, layout.files_dir, layout.private_files_dir, layout.sessions_dir


def _prepare(process: UserProcess, key: str, snapshot: str) -> None:
    layout = process.layout
    process.systemctl("stop", layout.restore_unit, check=False)
    clear(process, layout.restore_dir)
    # There may be no room for it beside the new data.
    tidy(process)
    make_folder(layout.restore_dir)
    command = layout.bin_dir / f"restic-{key}"
    process.run_program([str(command), "restore", "--quiet", "--target", str(layout.restore_dir), snapshot])
    for path in (layout.files_dir, layout.private_files_dir):
        _demand_folder(layout.restore_dir / path.name, f"~/{path.relative_to(layout.home)}", snapshot)
    _sessions(process, key)
    base = layout.restore_dir / layout.base(key).relative_to(layout.data_dir)
    if base.is_dir() and not base.is_symlink():
        database.make_consistent(process, base)
        move(base, layout.restore_dir / layout.mysql_dir.name)
    else:
        _import_dump(process, key, snapshot)


def _import_dump(process: UserProcess, key: str, snapshot: str) -> None:
    layout = process.layout
    dump = layout.restore_dir / layout.dump(key).relative_to(layout.data_dir)
    if not _is_whole(dump):
        raise OperationFailed(f"snapshot {snapshot} holds no whole database; migrate again")
    database.initialise(process, layout.restore_dir / layout.mysql_dir.name)
    units.control(process, "start", [layout.restore_unit])
    database.create_database(process, layout.restore_socket)
    database.import_dump(process, layout.restore_socket, dump)
    database.query(process, layout.restore_socket, "SHUTDOWN")
    # If it were killed, its last second would be missing, because it does not flush on the way.
    units.await_end(process, layout.restore_unit)
    dump.unlink()


def _sessions(process: UserProcess, key: str) -> None:
    """Put the sessions in their place; snapshots of earlier versions have none."""
    layout = process.layout
    place = layout.restore_dir / layout.sessions_dir.name
    copy = layout.restore_dir / layout.sessions_copy(key).relative_to(layout.data_dir)
    if copy.is_dir() and not copy.is_symlink():
        move(copy, place)
    else:
        make_folder(place)


def _demand_folder(restored: Path, place: str, snapshot: str) -> None:
    if restored.is_symlink():
        raise OperationFailed(
            f"{place} was a link when snapshot {snapshot} was made, which holds nothing of what it leads to;"
            " on the source put a folder with the files in its place, then migrate again"
        )
    if not restored.is_dir():
        raise OperationFailed(
            f"{place} was no folder when snapshot {snapshot} was made; make it one on the source, then"
            " migrate again"
        )


def _is_whole(dump: Path) -> bool:
    try:
        # A snapshot may hold anything under this name; a pipe must not be waited for.
        if not stat.S_ISREG(os.lstat(dump).st_mode):
            return False
        with dump.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 200))
            return _DUMP_END in file.read()
    except FileNotFoundError:
        return False
