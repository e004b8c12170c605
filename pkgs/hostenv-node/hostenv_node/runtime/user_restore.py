"""Restoring a snapshot beside the live data, then putting it in their place, as the environment's user."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from hostenv_node.files import sync_directory
from hostenv_node.operations import OperationFailed
from hostenv_node.runtime import user_database, user_units
from hostenv_node.runtime.layout import Layout
from hostenv_node.runtime.user_files import write_file
from hostenv_node.runtime.user_process import UserProcess, text_of

_DUMP_END = b"-- Dump completed"


def restore(process: UserProcess, arguments: Mapping[str, object]) -> None:
    """Restore the snapshot; what is there is set aside once per job (contract 8).

    Cut short anywhere and run again for the same job and snapshot, it ends the same: the live data are
    touched only after everything is restored, by renames that a repetition finishes.
    """
    layout = process.layout
    job, key, snapshot = (text_of(arguments, name) for name in ("job", "key", "snapshot"))
    done = layout.state_dir / "restored"
    identity = f"{job} {snapshot}\n".encode()
    if done.exists() and done.read_bytes() == identity:
        return
    complete = layout.restore_dir / "complete"
    if not (complete.exists() and complete.read_bytes() == identity):
        _prepare(process, key, snapshot)
        write_file(complete, identity, 0o600)
        os.sync()
    user_units.disable(process)
    user_units.stop_stale(process, layout.units[::-1])
    swap(layout, job)
    write_file(done, identity, 0o600)
    # An installation that the old data had begun is not theirs.
    (layout.state_dir / "installing").unlink(missing_ok=True)
    os.sync()
    shutil.rmtree(layout.restore_dir)


def swap(layout: Layout, job: str) -> None:
    """Move the live data aside, unless this job did already, and the restored ones in their place."""
    aside = layout.set_aside(job)
    marker = aside / "complete"
    live = (layout.mysql_dir, layout.files_dir, layout.private_files_dir, layout.sessions_dir)
    if not marker.exists():
        aside.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in live:
            if path.exists():
                os.rename(path, aside / path.name)
        write_file(marker, b"", 0o600)
        sync_directory(aside)
    for path in live:
        restored = layout.restore_dir / path.name
        if restored.exists():
            os.rename(restored, path)
    sync_directory(layout.data_dir)


def _prepare(process: UserProcess, key: str, snapshot: str) -> None:
    layout = process.layout
    process.systemctl("stop", layout.restore_unit, check=False)
    shutil.rmtree(layout.restore_dir, ignore_errors=True)
    layout.restore_dir.mkdir(mode=0o700, parents=True)
    command = layout.bin_dir / f"restic-{key}"
    process.run_program([str(command), "restore", "--quiet", "--target", str(layout.restore_dir), snapshot])
    dump = layout.restore_dir / layout.dump(key).relative_to(layout.data_dir)
    if not _is_whole(dump):
        raise OperationFailed(f"snapshot {snapshot} holds no whole database dump; migrate again")
    for path in (layout.files_dir, layout.private_files_dir):
        _demand_folder(layout.restore_dir / path.name, f"~/{path.relative_to(layout.home)}", snapshot)
    _sessions(layout, key)
    user_database.initialise(process, layout.restore_dir / layout.mysql_dir.name)
    user_units.control(process, "start", [layout.restore_unit])
    user_database.create_database(process, layout.restore_socket)
    user_database.import_dump(process, layout.restore_socket, dump)
    user_database.query(process, layout.restore_socket, "SHUTDOWN")
    # Killed, it would lack its last second, for it flushes nothing on the way.
    user_units.await_end(process, layout.restore_unit)
    dump.unlink()


def _sessions(layout: Layout, key: str) -> None:
    """Put the sessions in their place; snapshots of earlier versions have none."""
    place = layout.restore_dir / layout.sessions_dir.name
    copy = layout.restore_dir / layout.sessions_copy(key).relative_to(layout.data_dir)
    if copy.is_dir() and not copy.is_symlink():
        os.replace(copy, place)
    else:
        place.mkdir(mode=0o700)


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
        with dump.open("rb") as file:
            file.seek(max(0, dump.stat().st_size - 200))
            return _DUMP_END in file.read()
    except FileNotFoundError:
        return False
