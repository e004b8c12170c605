"""Small files that must be whole or absent, whatever happens, and that nobody else may read."""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hostenv_core.errors import HostenvError

Stamp = tuple[int, int, int]
"""Differs when a file has been replaced or written."""


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file durably: a crash leaves the old or the new text.

    Raises HostenvError if the file cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
        raise HostenvError(
            f"{path}: cannot be written ({error.strerror}): free space or correct its owner"
        ) from error


def stamp(path: Path) -> Stamp | None:
    """The file's stamp; None if it cannot be looked at."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_object(path: Path) -> dict[str, object]:
    """The JSON object in a file; empty if there is no such file.

    Raises HostenvError if it cannot be read or is no JSON object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise HostenvError(f"{path}: cannot be read ({error.strerror}): correct its owner or mode") from error
    except (ValueError, RecursionError) as error:
        raise HostenvError(f"{path}: not JSON ({error}): restore it") from error
    if not isinstance(document, dict):
        raise HostenvError(f"{path}: must hold a JSON object: restore it")
    return document


def read_strings(path: Path) -> dict[str, str]:
    """The JSON object of strings in a file; empty if there is no such file. Raises HostenvError."""
    document = read_object(path)
    for key, value in document.items():
        if not isinstance(value, str):
            raise HostenvError(f"{path}: {key!r} must be a string: restore it")
    return {key: str(value) for key, value in document.items()}


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`, which commands and the service share for one kind of file."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostenvError(
            f"{path}: cannot be locked ({error.strerror}): correct its owner or mode"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
