"""The generation that this node was switched to, and the part of the plan to which it points."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.files import read_json, write_json
from hostenv_core.json_value import Value, parse_object
from hostenv_core.names import FIRST_UID, LAST_UID, is_user_name

from hostenv_node.config import Config

_NAME = re.compile(r"(?:[0-9a-z]{32}-)?hostenv-(?P<node>.+)-(?P<commit>[0-9a-f]{40})")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Generation:
    """The commit of this node's repository and the store path that was built from it (contract 3).

    `late` is whether the activation had to complete the switch, because comin's own was interrupted or
    failed.
    """

    commit: str
    toplevel: Path
    late: bool = field(default=False, compare=False)

    @classmethod
    def at(cls, toplevel: Path, node: str) -> "Generation":
        """The generation that a store path names, `hostenv-<node>-<commit>`.

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
        return cls(commit, Path(toplevel), record.get("late") is True)

    def record(self, config: Config) -> None:
        """Make it the recorded one, durably."""
        write_json(
            config.generation_file,
            {"commit": self.commit, "toplevel": str(self.toplevel), "late": self.late},
        )


def commit_of(toplevel: Path) -> str | None:
    """The commit that a store path names, None when it is no generation of hostenv's."""
    match = _NAME.fullmatch(toplevel.name)
    return match["commit"] if match else None


def slice_hash(toplevel: Path) -> str:
    """The SHA-256 of the slice to which a generation points.

    Raises HostenvError when it points to none.
    """
    path = toplevel / "slice.sha256"
    try:
        found = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise HostenvError(f"{path} is missing; the generation is not one of hostenv's") from None
    except ValueError:
        found = ""
    if not _HASH.fullmatch(found):
        raise HostenvError(f"{path} holds no SHA-256; the generation is not one of hostenv's")
    return found


@dataclass(frozen=True)
class Slice:
    """This node's part of the plan: its entries by environment user (contract 6), and its text."""

    text: str
    environments: Mapping[str, Mapping[str, object]]

    @property
    def sha256(self) -> str:
        """The hash by which generations point to it."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @classmethod
    def recorded(cls, config: Config) -> "Slice | None":
        """The slice that the last completed switch recorded. Raises HostenvError when it is damaged."""
        try:
            text = config.slice_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise HostenvError(
                f"{config.slice_file} is not UTF-8; remove it, the next switch fetches it"
            ) from error
        return cls.parse(text, config.slice_file, config.node)

    @classmethod
    def parse(cls, text: str, where: object, node: str) -> "Slice":
        """Raises HostenvError naming its origin and what is wrong in it."""
        content = Value(parse_object(text, where, "plan again"), where, most=None, remedy="plan again")
        content.member("node").named(lambda name: name == node, f"the name of this node, {node}")
        environments = content.member("environments").entries(is_user_name, "an environment's user")
        owners: dict[int, str] = {}
        for user, entry in environments.items():
            uid = entry.member("uid")
            owner = owners.setdefault(uid.integer(FIRST_UID, LAST_UID), user)
            if owner != user:
                raise uid.error(f"is that of {owner} too")
        return cls(text, {user: entry.mapping() for user, entry in environments.items()})

    def users(self) -> dict[str, int]:
        """The accounts that the slice needs: name → uid."""
        return {
            user: uid for user, entry in self.environments.items() if isinstance(uid := entry["uid"], int)
        }
