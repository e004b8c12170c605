"""The configuration file of `comin run`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import CominError
from .yaml_subset import YamlSubset

Json = dict[str, Any]


@dataclass(frozen=True)
class Remote:
    """A Git remote; `period` and `timeout` in seconds, a `period` of 0 means never by itself."""

    name: str
    url: str
    username: str
    token: str
    timeout: int
    period: int
    branch: str
    operation: str


@dataclass(frozen=True)
class Config:
    """What `comin run` is told; unknown keys of the file are ignored, as comin does."""

    hostname: str
    state_dir: Path
    subdir: str
    remotes: tuple[Remote, ...]
    socket: Path
    hook: str
    capacity: int

    @classmethod
    def load(cls, path: Path) -> Config:
        """Reads the file and the tokens that it names.

        Raises CominError for what comin refuses too, and for what this stand-in does not do.
        """
        try:
            tree = YamlSubset.parse(path.read_text())
            return cls._of(tree if isinstance(tree, dict) else {})
        except KeyError as error:
            raise CominError(f"{path}: the key {error} is missing") from error
        except (AttributeError, TypeError) as error:
            raise CominError(f"{path}: a value is of another kind than comin's: {error}") from error
        except (OSError, CominError) as error:
            raise CominError(f"{path}: {error}") from error

    @classmethod
    def _of(cls, tree: Json) -> Config:
        if tree.get("repository_type") != "flake":
            raise CominError("repository_type: the stand-in does 'flake' only")
        for key in ("gpg_public_key_paths", "submodules", "system_attr"):
            if tree.get(key):
                raise CominError(f"{key}: the stand-in does not do this")
        for key in ("build_confirmer", "deploy_confirmer"):
            if section(tree, key).get("mode") != "without":
                raise CominError(f"{key}.mode: the stand-in does 'without' only")
        retention = section(tree, "retention")
        for key in (
            "deployment_boot_entry_capacity",
            "deployment_successful_capacity",
            "deployment_any_capacity",
        ):
            if not isinstance(retention.get(key), int) or retention[key] < 1:
                raise CominError(f"retention.{key}: must be at least 1")
        state_dir = Path(tree["state_dir"])
        return cls(
            hostname=str(tree["hostname"]),
            state_dir=state_dir,
            subdir=tree.get("repository_subdir") or ".",
            remotes=tuple(cls._remote(remote) for remote in tree.get("remotes") or ()),
            socket=Path(section(tree, "grpc").get("unix_socket_path") or state_dir / "grpc.sock"),
            hook=tree.get("post_deployment_command") or "",
            capacity=max(retention["deployment_any_capacity"], retention["deployment_successful_capacity"]),
        )

    @staticmethod
    def _remote(tree: Json) -> Remote:
        auth, branches = section(tree, "auth"), section(tree, "branches")
        if section(branches, "testing").get("name"):
            raise CominError(f"remote {tree['name']}: the stand-in has no testing branches")
        token = auth.get("access_token_path")
        return Remote(
            name=tree["name"],
            url=tree["url"],
            username=auth.get("username") or "comin",
            token=Path(token).read_text().strip() if token else "",
            timeout=tree.get("timeout") or 300,
            period=section(tree, "poller").get("period") or 0,
            branch=section(branches, "main")["name"],
            operation=section(branches, "main").get("operation") or "switch",
        )


def section(tree: Json, key: str) -> Json:
    """The mapping below `key`, an empty one where there is none."""
    value = tree.get(key)
    return value if isinstance(value, dict) else {}
