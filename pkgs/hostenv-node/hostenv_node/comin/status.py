"""comin on this node: the failures that it reports to nobody (contract 8)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from hostenv_core.processes import CommandFailed, run

from hostenv_node.config import Config

_SECONDS = 30.0
_STAGES = (("eval", "evaluate"), ("build", "build"))


@dataclass(frozen=True)
class BrokenCommit:
    """A commit that this node cannot evaluate or build."""

    commit: str
    reason: str


def broken_commit(config: Config) -> BrokenCommit | None:
    """The commit that comin selected last, if it failed to evaluate or build; None also without an answer."""
    try:
        status = json.loads(run([config.tool("comin"), "status", "--json"], timeout=_SECONDS).stdout)
    except (CommandFailed, ValueError):
        return None
    return broken_in(status) if isinstance(status, dict) else None


def broken_in(status: Mapping[str, object]) -> BrokenCommit | None:
    """The same, read from the answer of `comin status --json`."""
    builder = status.get("builder")
    generation = builder.get("generation") if isinstance(builder, dict) else None
    if not isinstance(generation, dict):
        return None
    commit = generation.get("selected_commit_id")
    for key, verb in _STAGES:
        error = generation.get(f"{key}_err")
        if isinstance(commit, str) and commit and isinstance(error, str) and error:
            return BrokenCommit(commit, f"comin could not {verb} {commit}: {error}")
    return None
