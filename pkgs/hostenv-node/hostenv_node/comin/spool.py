"""What comin's post-deployment command hands to the activation: one file per deployment."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from hostenv_core.files import read_json, remove_durably, write_json
from hostenv_core.json_value import Value

from hostenv_node.config import Config


@dataclass(frozen=True)
class Deployment:
    """What comin says about one deployment."""

    commit: str
    status: str
    error: str

    @property
    def failure(self) -> str | None:
        """Why it failed, None if it did not (contract 8).

        comin 0.13.0 says `done` after a failed switch, but then it has an error.
        """
        if self.status == "done" and not self.error:
            return None
        reason = self.error or "no reason given"
        return f"comin could not deploy {self.commit} (status {self.status or 'unknown'}): {reason}"


@dataclass(frozen=True)
class SpooledDeployment:
    """One deployment and the file that holds it."""

    path: Path
    deployment: Deployment

    def remove(self) -> None:
        """It has been dealt with."""
        remove_durably(self.path)


def add(config: Config, deployment: Deployment) -> None:
    """Leave a deployment for the activation, durably."""
    config.spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(
        config.spool_dir / f"{time.time_ns():020d}-{os.getpid()}.json",
        {"commit": deployment.commit, "status": deployment.status, "error": deployment.error},
    )


def entries(config: Config) -> list[SpooledDeployment]:
    """What was left, oldest first."""
    found = []
    for path in sorted(config.spool_dir.glob("[!.]*.json")):
        content = read_json(path)
        if content is not None:
            said = Value(content, path, remedy="remove it, it is not of hostenv-comin-activate")
            values = (said.member(key).text() for key in ("commit", "status", "error"))
            found.append(SpooledDeployment(path, Deployment(*values)))
    return found
