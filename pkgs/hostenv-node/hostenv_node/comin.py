"""comin on this node: the failures that it tells nobody (contract 8), and what it must forget."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hostenv_node.config import Config
from hostenv_node.errors import HostenvError
from hostenv_node.files import read_json, replace_file
from hostenv_node.run import CommandFailed, run

STATE = Path("/var/lib/comin")
"""Where comin keeps its clone and what it deployed."""

_SECONDS = 30.0
_UNFINISHED = ("init", "running")
_STAGES = (("eval", "evaluate"), ("build", "build"))


@dataclass(frozen=True)
class BrokenCommit:
    """A commit that this node cannot evaluate or build."""

    commit: str
    reason: str


def broken_commit(config: Config) -> BrokenCommit | None:
    """The commit that comin selected last, if it failed to evaluate or build; None too without an answer."""
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


def prepare(state: Path) -> None:
    """Make comin forget what would stop it for good; it must not be running. Raises OSError.

    Earlier versions followed the provider's own repository, which holds all nodes' plans; comin refuses any
    other history than the one that it knows.

    comin notes a deployment before it switches, and takes what it noted for done: the commit of one that was
    cut short, by a kill or a power failure, would never be switched to.
    """
    store, repository = state / "store.json", state / "repository"
    if _follows_provider(repository):
        store.unlink(missing_ok=True)
        shutil.rmtree(repository)
        return
    try:
        content = read_json(store) or {}
    except HostenvError:
        # comin says so itself and begins a new one.
        return
    deployments = content.get("deployments")
    if not isinstance(deployments, list):
        return
    kept = [each for each in deployments if not _was_cut_short(each)]
    if kept != deployments:
        replace_file(store, json.dumps({**content, "deployments": kept}).encode(), 0o644)


def _was_cut_short(deployment: object) -> bool:
    return isinstance(deployment, dict) and deployment.get("status") in _UNFINISHED


def _follows_provider(repository: Path) -> bool:
    try:
        return b"/git/provider.git" in (repository / "config").read_bytes()
    except FileNotFoundError:
        return False
