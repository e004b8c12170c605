"""What a node's own repository holds: the provider's commit without what is not this node's (contract 3).

Data in, data out: the same commit gives the same files, whatever the repository held before.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from hostenv_core.errors import InvalidData
from hostenv_core.names import is_node_name

from hostenv_provider.plan import flake_template, generated, lock_file
from hostenv_provider.plan.lock_file import LOCK

SETTINGS = "provider.json"
FLAKE = "flake.nix"

_FILE = "100644"


@dataclass(frozen=True)
class Entry:
    """A file as Git lists it: its mode and the id of its content."""

    mode: str
    blob: str


@dataclass(frozen=True)
class ProviderTree:
    """A commit of the provider repository: all its files by path, and the contents that are looked into."""

    commit: str
    entries: Mapping[str, Entry]
    contents: Mapping[str, bytes]

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """The nodes of `provider.json` that the planner has a slice for. Raises InvalidData."""
        found = _mapping(self._settings.get("nodes"), "nodes")
        return tuple(
            sorted(
                node for node in found if is_node_name(node) and generated.slice_path(node) in self.contents
            )
        )

    @cached_property
    def operators(self) -> Mapping[str, "Entry | bytes"]:
        """The files that are the same for all nodes: the operators' own, without any mention of a project.

        Raises InvalidData if a project is named in `flake.nix` elsewhere than between the markers.
        """
        files: dict[str, Entry | bytes] = {
            path: entry
            for path, entry in self.entries.items()
            if not path.startswith(f"{generated.FOLDER}/") and path != SETTINGS
        }
        flake = self._text(FLAKE)
        if LOCK in self.contents:
            lock = generated.from_text(self._text(LOCK), LOCK)
            shown = flake_template.without_projects(flake)
            for name in lock_file.project_inputs(lock):
                if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", shown):
                    raise InvalidData(
                        f"{FLAKE}: {name} stands outside of `# begin projects` and `# end projects`, where"
                        " every node would see it: move it between these lines"
                    )
            files[LOCK] = generated.to_text(lock_file.without_projects(lock)).encode()
        files[FLAKE] = flake_template.without_projects(flake).encode()
        return files

    def slice_of(self, node: str) -> str:
        """The node's part of the plan, as the planner wrote it."""
        return self._text(generated.slice_path(node))

    def of_node(self, node: str) -> "NodeTree":
        """What the node's repository holds at this commit. Raises InvalidData."""
        own = generated.node_folder(node)
        files = dict(self.operators)
        for path, entry in self.entries.items():
            if path.startswith(f"{own}/"):
                files[path] = entry
        del files[generated.slice_path(node)]
        text = self.slice_of(node)
        files[generated.slice_hash_path(node)] = f"{generated.slice_hash(text)}\n".encode()
        settings = {
            "hostenvHostname": self._settings.get("hostenvHostname"),
            "nodes": {node: _mapping(self._settings.get("nodes"), "nodes")[node]},
        }
        files[SETTINGS] = generated.to_text(settings).encode()
        made = {path: each for path, each in files.items() if isinstance(each, bytes)}
        return NodeTree(
            text,
            {
                path: Entry(_FILE, blob_id(each)) if isinstance(each, bytes) else each
                for path, each in files.items()
            },
            made,
        )

    @cached_property
    def _settings(self) -> Mapping[str, object]:
        return _mapping(generated.from_text(self._text(SETTINGS), SETTINGS), "the file")

    def _text(self, path: str) -> str:
        try:
            return self.contents[path].decode("utf-8")
        except KeyError:
            raise InvalidData(f"{path}: is not in commit {self.commit}: restore it") from None
        except UnicodeDecodeError:
            raise InvalidData(f"{path}: is not UTF-8") from None


@dataclass(frozen=True)
class NodeTree:
    """A node's files, and the slice to which they point; `made` are contents that it must be given."""

    slice: str
    entries: Mapping[str, Entry]
    made: Mapping[str, bytes]


def wanted_contents(entries: Mapping[str, Entry]) -> dict[str, str]:
    """The contents that `ProviderTree` looks into: paths and blob ids."""
    return {
        path: entry.blob
        for path, entry in entries.items()
        if path in (FLAKE, LOCK, SETTINGS) or generated.is_slice(path)
    }


def blob_id(content: bytes) -> str:
    """Git's id of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _mapping(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise InvalidData(f"{SETTINGS}: {what} must be an object")
    return value
