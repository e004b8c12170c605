"""One look at a tree of files below the home, as its user."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from hostenv_node.environment.changes import Seen


def scan(root: Path, folders: Iterable[str]) -> dict[str, Seen]:
    """What is in these folders of `root`, themselves included, by path relative to `root`.

    What vanishes meanwhile is not there. Raises OSError for a folder that cannot be read.
    """
    found: dict[str, Seen] = {}
    for folder in folders:
        seen = _seen(root / folder)
        if seen is not None:
            found[folder] = seen
            if seen.is_folder:
                found.update(_below(str(root), folder))
    return found


def _below(root: str, top: str) -> Iterator[tuple[str, Seen]]:
    # One stack for all levels: a tree may be deeper than Python calls.
    folders = [top]
    while folders:
        folder = folders.pop()
        try:
            entries = os.scandir(os.path.join(root, folder))
        except FileNotFoundError:
            continue
        with entries:
            for entry in entries:
                path = f"{folder}/{entry.name}"
                seen = _seen(Path(entry.path))
                if seen is None:
                    continue
                yield path, seen
                if seen.is_folder:
                    folders.append(path)


def _seen(path: Path) -> Seen | None:
    try:
        status = os.lstat(path)
        target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Seen(status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, target)
