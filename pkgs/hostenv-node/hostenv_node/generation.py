"""The generation that this node was switched to, and the part of the plan that came with it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hostenv_node.config import Config
from hostenv_node.errors import HostenvError
from hostenv_node.files import read_json, write_json
from hostenv_node.names import FIRST_UID, LAST_UID, is_environment_user, is_uid

_NAME = re.compile(r"(?:[0-9a-z]{32}-)?hostenv-(?P<node>.+)-(?P<commit>[0-9a-f]{40})")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Generation:
    """The provider's commit and the store path that was built from it (contract 3)."""

    commit: str
    toplevel: Path

    @classmethod
    def at(cls, toplevel: Path, node: str) -> "Generation":
        """The generation that a store path says it is by its name, `hostenv-<node>-<commit>`.

        Raises HostenvError for another name, or another node's.
        """
        match = _NAME.fullmatch(toplevel.name)
        if match is None:
            raise HostenvError(f"{toplevel} is not named hostenv-<node>-<commit>; give the built toplevel")
        if match["node"] != node:
            raise HostenvError(f"{toplevel} was built for node {match['node']}, but this is {node}")
        return cls(match["commit"], toplevel)

    @classmethod
    def recorded(cls, config: Config) -> "Generation | None":
        """The generation that the last completed switch recorded.

        Raises HostenvError when the record is damaged.
        """
        record = read_json(config.generation_file)
        if record is None:
            return None
        commit, toplevel = record.get("commit"), record.get("toplevel")
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit) or not isinstance(toplevel, str):
            raise HostenvError(
                f"{config.generation_file} names no generation; remove it, the next switch writes it"
            )
        return cls(commit, Path(toplevel))

    def record(self, config: Config) -> None:
        """Make it the recorded one, durably."""
        write_json(config.generation_file, {"commit": self.commit, "toplevel": str(self.toplevel)})


def commit_of(toplevel: Path) -> str | None:
    """The commit that a store path names, None when it is no generation of hostenv's."""
    match = _NAME.fullmatch(toplevel.name)
    return match["commit"] if match else None


@dataclass(frozen=True)
class Slice:
    """This node's part of the plan: entries by environment user (contract 6)."""

    content: Mapping[str, object]
    environments: Mapping[str, Mapping[str, object]]

    @classmethod
    def read(cls, path: Path, node: str) -> "Slice":
        """Raises HostenvError naming the file and what is wrong in it."""
        content = read_json(path)
        if content is None:
            raise HostenvError(f"{path} is missing; the generation is not one of hostenv's")
        if content.get("node") != node:
            raise HostenvError(f"{path} is for node {content.get('node')!r}, but this is {node}")
        environments = content.get("environments")
        if not isinstance(environments, dict):
            raise HostenvError(f"{path}: environments must be an object")
        owners: dict[int, str] = {}
        for user, entry in environments.items():
            if not is_environment_user(user):
                raise HostenvError(f"{path}: {user[:80]!r} is no name of an environment's user")
            if not isinstance(entry, dict):
                raise HostenvError(f"{path}: the entry of {user} must be an object")
            uid = entry.get("uid")
            if not is_uid(uid):
                raise HostenvError(
                    f"{path}: uid of {user} must be a number from {FIRST_UID} to {LAST_UID}, not {uid!r}"
                )
            if uid in owners:
                raise HostenvError(f"{path}: {owners[uid]} and {user} have the same uid {uid}")
            owners[uid] = user
        return cls(content, environments)

    def users(self) -> dict[str, int]:
        """The accounts that the slice needs: name → uid."""
        return {
            user: uid for user, entry in self.environments.items() if isinstance(uid := entry["uid"], int)
        }
