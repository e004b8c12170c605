"""Durable and atomic files."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from hostenv_core.errors import HostenvError


def write_durably(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace `path` so that after a crash it holds either the old or all of the new content.

    When this returns, content and name are on disk. The folder must exist.
    """
    replace_file(path, content, mode)
    sync_directory(path.parent)


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Replace `path` at once; a link in its place, or in the new content's, is not followed.

    The content is on disk when this returns, the name perhaps not yet.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    os.replace(temporary, path)


def write_json(path: Path, value: object) -> None:
    """Write `value` durably as JSON with sorted keys, for root alone."""
    write_durably(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Mapping[str, object] | None:
    """The JSON object in `path`, or None when there is no such file.

    Raises HostenvError when the file is not a JSON object.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise HostenvError(f"{path} is not JSON ({error}); restore it or remove it") from error
    if not isinstance(value, dict):
        raise HostenvError(f"{path} must hold a JSON object; restore it or remove it")
    return value


def remove_durably(path: Path) -> None:
    """Remove `path` if it is there; afterwards the removal survives a crash."""
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Flush the names in a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
