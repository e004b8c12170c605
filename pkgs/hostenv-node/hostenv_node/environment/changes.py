"""What differs between two looks at a tree of files. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Seen:
    """One name as `lstat` shows it: times in nanoseconds, size in bytes; `target` is a symbolic link's."""

    mode: int
    size: int
    mtime: int
    ctime: int
    inode: int
    target: str | None = None

    @property
    def is_folder(self) -> bool:
        return self.mode & 0o170000 == 0o040000


Tree = Mapping[str, Seen]
"""By path relative to the tree's root; bytes that are not UTF-8 are surrogates (`os.fsdecode`)."""


@dataclass(frozen=True)
class Changes:
    """Paths to copy, folders before what is in them, and paths to remove, folders after it."""

    changed: tuple[str, ...]
    removed: tuple[str, ...]


def changes(before: Tree, after: Tree) -> Changes:
    """What makes a copy of `before` one of `after`.

    A name whose kind changed is removed and copied. Of several hard links to one file all are copied when it
    changed, since they have its times.
    """
    changed = [path for path, seen in after.items() if _differs(before.get(path), seen)]
    removed = [path for path, seen in before.items() if _goes(seen, after.get(path))]
    return Changes(tuple(sorted(changed)), tuple(sorted(removed, reverse=True)))


def _differs(before: Seen | None, after: Seen) -> bool:
    if before is None or not after.is_folder or not before.is_folder:
        return before != after
    # Its size and its inode mean nothing to a copy; its times change with what is in it.
    return (before.mode, before.mtime, before.ctime) != (after.mode, after.mtime, after.ctime)


def _goes(before: Seen, after: Seen | None) -> bool:
    return after is None or before.mode & 0o170000 != after.mode & 0o170000
