"""comin's own memory of what it deployed, and what it must forget before it starts."""

import json
import shutil
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.files import read_json, replace_file

STATE = Path("/var/lib/comin")
"""Where comin keeps its clone and what it deployed."""

_UNFINISHED = ("init", "running")


def prepare(state: Path) -> None:
    """Make comin forget what would stop it permanently; it must not be running. Raises OSError.

    Earlier versions followed the provider's own repository, which holds all nodes' plans; comin refuses a
    history other than the one that it knows.

    comin notes a deployment before it switches, and believes that what it noted is done: if a kill or a
    power failure interrupts it, comin would never switch to that commit.
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
