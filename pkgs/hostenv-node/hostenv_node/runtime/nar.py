"""Nix's hash of a source tree, computed from a tar archive, so that root unpacks no stranger's files."""

import base64
import hashlib
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from hostenv_node.operations import OperationFailed

_CHUNK_BYTES = 1 << 20


@dataclass
class _Directory:
    members: dict[bytes, "_Directory | tarfile.TarInfo"] = field(default_factory=dict)


def nar_hash(archive: Path) -> str:
    """`narHash` of the tree in an uncompressed tar archive, in SRI form (`sha256-…`).

    Raises OperationFailed for a member that is neither a folder, a file nor a link, or an archive cut short.
    """
    digest = hashlib.sha256()
    with tarfile.open(archive, "r:") as tar, archive.open("rb") as data:
        root = _Directory()
        for member in tar:
            _place(root, member)
        digest.update(_text(b"nix-archive-1"))
        _node(digest, data, root)
    return "sha256-" + base64.b64encode(digest.digest()).decode()


def _place(root: _Directory, member: tarfile.TarInfo) -> None:
    parts = [
        part for part in member.name.encode("utf-8", "surrogateescape").split(b"/") if part not in (b"", b".")
    ]
    if not parts:
        return
    directory = root
    for part in parts[:-1]:
        found = directory.members.setdefault(part, _Directory())
        if not isinstance(found, _Directory):
            raise OperationFailed(f"{member.name} lies below a file")
        directory = found
    if member.isdir():
        directory.members.setdefault(parts[-1], _Directory())
    elif member.isreg() or member.issym():
        directory.members[parts[-1]] = member
    else:
        raise OperationFailed(f"{member.name} is neither a folder, a file nor a link")


def _node(digest: "hashlib._Hash", data: IO[bytes], node: "_Directory | tarfile.TarInfo") -> None:
    digest.update(_text(b"(") + _text(b"type"))
    if isinstance(node, _Directory):
        digest.update(_text(b"directory"))
        for name in sorted(node.members):
            digest.update(_text(b"entry") + _text(b"(") + _text(b"name") + _text(name) + _text(b"node"))
            _node(digest, data, node.members[name])
            digest.update(_text(b")"))
    elif node.issym():
        target = node.linkname.encode("utf-8", "surrogateescape")
        digest.update(_text(b"symlink") + _text(b"target") + _text(target))
    else:
        digest.update(_text(b"regular"))
        if node.mode & 0o100:
            digest.update(_text(b"executable") + _text(b""))
        digest.update(_text(b"contents") + node.size.to_bytes(8, "little"))
        data.seek(node.offset_data)
        left = node.size
        while left:
            chunk = data.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise OperationFailed(f"the archive ends within {node.name}")
            digest.update(chunk)
            left -= len(chunk)
        digest.update(bytes(-node.size % 8))
    digest.update(_text(b")"))


def _text(value: bytes) -> bytes:
    return len(value).to_bytes(8, "little") + value + bytes(-len(value) % 8)
