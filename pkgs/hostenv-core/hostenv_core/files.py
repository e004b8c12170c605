"""Files that must be whole or absent, whatever happens. A path has one writer at a time (`locks`)."""

import json
import os
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.json_value import Value, parse_object

Stamp = tuple[int, int, int]
"""Differs when a file has been replaced or written."""


def write_durably(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace `path` so that after a crash it holds either the old or all of the new content.

    When this returns, content and name are on disk. A folder that is missing is made, for the owner alone.
    Raises HostenvError if the file cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, content, mode)
        sync_directory(path.parent)
    except OSError as error:
        raise HostenvError(
            f"{path}: cannot be written ({error.strerror}): free space or correct its owner"
        ) from error


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Replace `path` at once; a link in its place, or in the new content's, is not followed.

    The content is on disk when this returns, the name perhaps not yet. Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: object) -> None:
    """Write `value` durably as JSON with sorted keys, for the owner alone. Raises HostenvError."""
    write_durably(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> dict[str, object] | None:
    """The JSON object in `path`, or None when there is no such file.

    Raises HostenvError when the file cannot be read or is not a JSON object.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostenvError(f"{path}: cannot be read ({error.strerror}): correct its owner or mode") from error
    return parse_object(content, path, "correct or restore it")


def read_strings(path: Path) -> dict[str, str]:
    """The JSON object of strings in `path`; empty when there is no such file. Raises HostenvError."""
    document = Value(read_json(path) or {}, path, remedy="restore it")
    return {key: each.text() for key, each in document.object().items()}


def remove_durably(path: Path) -> None:
    """Remove `path` if it is there; afterwards the removal survives a crash. Raises OSError."""
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Flush the names in a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stamp(path: Path) -> Stamp | None:
    """The file's stamp; None if it cannot be looked at."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
