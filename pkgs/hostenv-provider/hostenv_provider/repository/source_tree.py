"""The files of a commit: what a project may have, checked before anything is unpacked, and its hash.

A project may have what Git alone can fetch, and so much of it.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hostenv_core.errors import InvalidData
from hostenv_core.lines import shown
from hostenv_core.processes import OutputTooLong
from hostenv_core.source_limits import TOO_MANY_FILES, excess

from hostenv_provider.repository.mirror import Mirror

_SUBMODULE = "160000"
_POINTER = "version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class Entry:
    """A file, link or submodule of a commit; `size` in bytes is 0 for a submodule."""

    mode: str
    size: int
    path: str


def parse(listing: str) -> list[Entry]:
    """The entries in the output of `git ls-tree -r -l -z`."""
    entries = []
    for line in filter(None, listing.split("\0")):
        facts, _, path = line.partition("\t")
        mode, _, _, size = facts.split()
        entries.append(Entry(mode, 0 if size == "-" else int(size), path))
    return entries


def check_size(mirror: Mirror, rev: str, where: str) -> list[Entry]:
    """The entries of a commit. Raises InvalidData, which begins with `where`, if there is too much of it."""
    try:
        entries = parse(mirror.git("ls-tree", "-r", "-l", "-z", "--full-tree", rev).text)
    except OutputTooLong:
        raise InvalidData(f"{where}: {TOO_MANY_FILES}") from None
    check(entries, where)
    return entries


def check(entries: list[Entry], where: str) -> None:
    """Raises InvalidData for a tree that is too large."""
    size, depth = (
        sum(each.size for each in entries),
        max((each.path.count("/") for each in entries), default=0),
    )
    problem = excess(size, len(entries), depth)
    if problem is not None:
        raise InvalidData(f"{where}: {problem}")


def check_source(mirror: Mirror, rev: str, where: str) -> None:
    """Raises InvalidData unless the commit's files are all that a node needs, and within the limits."""
    entries = check_size(mirror, rev, where)
    for entry in entries:
        if entry.mode == _SUBMODULE:
            raise InvalidData(
                f"{where}: {shown(entry.path)} is a submodule, and the node would get an empty folder:"
                " commit its files instead (git rm, then git subtree add)"
            )
    if not any(os.path.basename(each.path) == ".gitattributes" for each in entries):
        return
    if _lines_with(mirror, rev, "filter=lfs", ":(glob)**/.gitattributes"):
        for path, number in _lines_with(mirror, rev, _POINTER):
            if number == "1":
                raise InvalidData(
                    f"{where}: {shown(path)} is kept in Git LFS, and the node would get its pointer only:"
                    " commit the file itself (git lfs migrate export)"
                )


def _lines_with(mirror: Mirror, rev: str, text: str, *paths: str) -> list[tuple[str, str]]:
    """Path and number of each line of the commit's texts that has `text` in it."""
    options = ("-z", "-n", "-I", "--full-name", "--fixed-strings", "-e", text)
    found = mirror.git("grep", *options, rev, "--", *paths, check=False).text
    return re.findall(rf"{rev}:([^\0]+)\0([0-9]+)\0", found)


@contextmanager
def unpacked(mirror: Mirror, rev: str, folder: Path) -> Iterator[Path]:
    """The files of a commit below `folder`, which is the caller's alone and gone afterwards.

    Raises CommandFailed if Git does not make files of such names.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(mode=0o700)
        tree = folder / "source"
        tree.mkdir()
        index = {
            "GIT_INDEX_FILE": str(folder / "index"),
            "GIT_DIR": str(mirror.path),
            "GIT_WORK_TREE": str(tree),
        }
        for command in (["read-tree", rev], ["checkout-index", "--all", "--force"]):
            # Names that only mean something on Windows are names like any other.
            mirror.git("-c", "core.protectNTFS=false", *command, env=index)
        yield tree
    finally:
        shutil.rmtree(folder, ignore_errors=True)
