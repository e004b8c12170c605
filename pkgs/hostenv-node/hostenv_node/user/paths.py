"""Names below a home, whatever its user made of them: modes, links, mounts, pipes, locked files.

What is to be deleted is first renamed and then deleted, so that what cannot be deleted is in nobody's way
and can be tried again.
"""

import errno
import os
import re
import stat
import time
from collections.abc import Iterable
from pathlib import Path

from hostenv_core.processes import CommandFailed

from hostenv_node.errors import OperationFailed, OperationTimedOut
from hostenv_node.user.process import UserProcess

_MOUNTINFO = Path("/proc/self/mountinfo")
_MAX_FILE_BYTES = 16 << 20
# At most this many seconds of an operation are spent on deleting; the rest is deleted later.
_DELETE_SECONDS = 60.0
_OWNERS_MODE = 0o700
_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISREG, "a file"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def demand_folder(path: Path) -> None:
    """Raises OperationFailed, saying what to do, unless there is a folder of its own."""
    kind = _kind(path)
    if kind is None:
        raise OperationFailed(f"{path} is missing; make the folder again, as its user: mkdir {path}")
    if kind != "a folder":
        raise OperationFailed(
            f"{path} is {kind}, so its data would stay behind; put them into a folder of that name"
        )
    demand_no_mount(path)


def demand_no_mount(path: Path) -> None:
    """Raises OperationFailed when `path` is a mount point, which cannot be moved."""
    if _real(path) in _mount_points():
        raise OperationFailed(
            f"{path} is a mount point, which cannot move; unmount it and put its data into a folder there"
        )


def make_folder(path: Path) -> None:
    """Make `path` and what is missing above it, and let its user in again if the modes forbid it.

    Raises OperationFailed when something else is there.
    """
    if not os.path.lexists(path):
        if path.parent != path:
            make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    if not path.is_dir():
        raise OperationFailed(f"{path} is {_kind(path)}, where a folder must be; remove it")
    _open(path)


def read_file(path: Path) -> bytes | None:
    """The content of a file; None where none is, or something else, or one that cannot be read.

    Opens no pipe and follows no link. Raises OperationFailed for a file that nobody here has written.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with open(descriptor, "rb") as file:
        content = file.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise OperationFailed(f"{path} is larger than {_MAX_FILE_BYTES >> 20} MiB; remove it")
    return content


def clear(process: UserProcess, path: Path) -> None:
    """Let nothing remain at `path`. A folder is only moved away; `tidy` deletes it.

    Raises OperationFailed, saying why, when it cannot even be moved.
    """
    discarded = process.layout.discarded_dir
    try:
        try:
            kind = _kind(path)
        except PermissionError:
            make_folder(path.parent)
            kind = _kind(path)
        if kind is None:
            return
        make_folder(path.parent)
        if kind != "a folder":
            path.unlink()
            return
        make_folder(discarded)
        move(path, discarded / f"{time.time_ns()}-{path.name[:100]}")
    except OSError as error:
        if _real(path) in _mount_points():
            raise OperationFailed(f"cannot remove {path}: it is a mount point; unmount it") from error
        if error.errno == errno.EXDEV:
            raise OperationFailed(
                f"cannot remove {path}: it is on another file system than {discarded};"
                " unmount that one, or remove it by hand"
            ) from error
        raise OperationFailed(f"cannot remove {path}: {error.strerror}; see lsattr and its owner") from error


def discard(process: UserProcess, paths: Iterable[Path]) -> None:
    """Clear each path; what cannot be cleared is left, with the reason, and stops nothing."""
    for path in paths:
        try:
            clear(process, path)
        except OperationFailed as error:
            process.left.append(str(error))


def tidy(process: UserProcess) -> list[str]:
    """Delete what was cleared away, as far as possible; a line about each thing that is left."""
    try:
        entries = sorted(process.layout.discarded_dir.iterdir())
    except OSError:
        return []
    return [reason for entry in entries if (reason := _delete(process, entry)) is not None]


def move(source: Path, target: Path) -> None:
    """Rename, also a folder that its user must not write to (its `..` changes); the mode comes along."""
    mode = os.lstat(source).st_mode
    if not stat.S_ISDIR(mode) or mode & _OWNERS_MODE == _OWNERS_MODE:
        os.rename(source, target)
        return
    _open(source)
    os.rename(source, target)
    os.chmod(target, stat.S_IMODE(mode))


def _delete(process: UserProcess, entry: Path) -> str | None:
    real = f"{_real(entry)}/"
    for mounted in _mount_points():
        if f"{mounted}/".startswith(real):
            # Whatever is mounted there does not belong to what was discarded.
            return f"cannot delete {entry}: {mounted} is a mount point; unmount it"
    remove = ["rm", "-rf", "--", str(entry)]
    allow = ["find", str(entry), "-type", "d", "!", "-perm", "-700", "-execdir", "chmod", "u+rwx", "{}", ";"]
    end = time.monotonic() + _DELETE_SECONDS
    try:
        for argv in (remove, allow, remove):
            left = max(1.0, end - time.monotonic())
            completed = process.run_program(argv, check=False, at_most=left)
            if not os.path.lexists(entry):
                return None
    except (CommandFailed, OperationTimedOut) as error:
        return f"cannot delete {entry}: {error}"
    said = completed.stderr.decode("utf-8", "replace").strip().splitlines()
    return f"cannot delete {entry}: {said[-1] if said else 'rm gives no reason'}"


def _open(directory: Path) -> None:
    mode = stat.S_IMODE(os.stat(directory).st_mode)
    if mode & _OWNERS_MODE != _OWNERS_MODE:
        os.chmod(directory, mode | _OWNERS_MODE)


def _kind(path: Path) -> str | None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        return "a folder"
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "a device")


def _real(path: Path) -> str:
    return os.path.join(os.path.realpath(path.parent), path.name)


def _mount_points() -> frozenset[str]:
    lines = _MOUNTINFO.read_bytes().splitlines()
    return frozenset(os.fsdecode(_unescaped(line.split(b" ")[4])) for line in lines)


def _unescaped(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), field)
