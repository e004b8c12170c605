"""Nix's hash of a commit's tree, from Git's objects as they come: no untrusted files are unpacked for it."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from typing import IO

from hostenv_node.errors import OperationFailed
from hostenv_node.runtime.source_tree import Entry

_CHUNK_BYTES = 1 << 20
_HEADER_BYTES = 200


def nar_hash(entries: Sequence[Entry], objects: IO[bytes]) -> str:
    """`narHash` of the tree of these files, in SRI form (`sha256-…`).

    `entries` are in the order of `source_tree.entries`, `objects` what `git cat-file --batch` says of them.
    Raises OperationFailed when an object is missing or two files share a name.
    """
    digest = hashlib.sha256(_text(b"nix-archive-1") + _FOLDER)
    around: tuple[bytes, ...] = ()
    before: tuple[bytes, ...] | None = None
    for entry in entries:
        folders, name = entry.parts[:-1], entry.parts[-1]
        if before is not None and entry.parts[: len(before)] == before:
            raise OperationFailed(f"{entry} comes twice, or lies below a file; the repository is malformed")
        shared = _shared(around, folders)
        digest.update(_END * 2 * (len(around) - shared))
        for folder in folders[shared:]:
            digest.update(_named(folder) + _FOLDER)
        digest.update(_named(name))
        _file(digest, entry, objects)
        digest.update(_END)
        around, before = folders, entry.parts
    digest.update(_END * (2 * len(around) + 1))
    return "sha256-" + base64.b64encode(digest.digest()).decode()


def _file(digest: "hashlib._Hash", entry: Entry, objects: IO[bytes]) -> None:
    digest.update(_text(b"(") + _text(b"type"))
    if entry.is_link:
        digest.update(_text(b"symlink") + _text(b"target"))
    else:
        digest.update(_text(b"regular"))
        if entry.is_executable:
            digest.update(_text(b"executable") + _text(b""))
        digest.update(_text(b"contents"))
    digest.update(entry.size.to_bytes(8, "little"))
    for chunk in _content(entry, objects):
        digest.update(chunk)
    digest.update(bytes(-entry.size % 8) + _END)


def _content(entry: Entry, objects: IO[bytes]) -> Iterator[bytes]:
    header = objects.readline(_HEADER_BYTES)
    if header != f"{entry.object_id} blob {entry.size}\n".encode():
        raise OperationFailed(f"the content of {entry} is not in the copy of the repository")
    left = entry.size
    while left:
        chunk = objects.read(min(left, _CHUNK_BYTES))
        if not chunk:
            raise OperationFailed(f"the content of {entry} ends early")
        left -= len(chunk)
        yield chunk
    objects.read(1)


def _shared(first: Sequence[bytes], second: Sequence[bytes]) -> int:
    """How many names at the beginning are the same."""
    return next(
        (index for index, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )


def _named(name: bytes) -> bytes:
    return _text(b"entry") + _text(b"(") + _text(b"name") + _text(name) + _text(b"node")


def _text(value: bytes) -> bytes:
    return len(value).to_bytes(8, "little") + value + bytes(-len(value) % 8)


_FOLDER = _text(b"(") + _text(b"type") + _text(b"directory")
_END = _text(b")")
