"""The files of a commit, which are no more than a project may have; checked before any is unpacked."""

from dataclasses import dataclass
from typing import IO

from hostenv_core.lines import tail
from hostenv_core.source_limits import TOO_MANY_FILES, excess

from hostenv_node.errors import OperationFailed

_MAX_LISTING = 64 << 20
_SHOWN_CHARACTERS = 200
_MODES = ("100644", "100664", "100755", "120000")


@dataclass(frozen=True)
class Entry:
    """A file or link of a commit; `size` in bytes, `parts` the names on its way."""

    mode: str
    object_id: str
    size: int
    parts: tuple[bytes, ...]

    @property
    def is_link(self) -> bool:
        return self.mode == "120000"

    @property
    def is_executable(self) -> bool:
        return self.mode == "100755"

    def __str__(self) -> str:
        return tail(b"/".join(self.parts).decode("utf-8", "replace"), _SHOWN_CHARACTERS)


def entries(listing: IO[bytes], where: str) -> list[Entry]:
    """What `git ls-tree -r -l -z` lists, in the order in which Nix hashes it.

    Raises OperationFailed, which begins with `where`, for too much of it and for what is no file nor link.
    """
    text = listing.read(_MAX_LISTING + 1)
    if len(text) > _MAX_LISTING:
        raise OperationFailed(f"{where} {TOO_MANY_FILES}")
    found = sorted(map(_entry, filter(None, text.split(b"\0"))), key=lambda entry: entry.parts)
    for entry in found:
        if entry.mode not in _MODES:
            raise OperationFailed(f"{where}: {entry} is neither a file nor a link; commit its files instead")
    size, depth = (
        sum(entry.size for entry in found),
        max((len(entry.parts) - 1 for entry in found), default=0),
    )
    problem = excess(size, len(found), depth)
    if problem is not None:
        raise OperationFailed(f"{where} {problem}")
    return found


def _entry(line: bytes) -> Entry:
    facts, _, path = line.partition(b"\t")
    mode, _, object_id, size = facts.decode().split()
    return Entry(mode, object_id, 0 if size == "-" else int(size), tuple(path.split(b"/")))
