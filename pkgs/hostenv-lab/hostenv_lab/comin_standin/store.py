"""What comin remembers across restarts: its deployments, in `store.json`."""

from __future__ import annotations

import json
import logging
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

from .config import Json

log = logging.getLogger("comin")


def now() -> str:
    """The time as comin writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class Store:
    """The newest deployments, newest first, as JSON objects with comin's names.

    A deployment's `status` is `running` or `done`. As in comin 0.13.0 a failed one is `done` too: what tells
    it apart is its `error_msg`.
    """

    def __init__(self, path: Path, capacity: int) -> None:
        self._path = path
        self._capacity = capacity
        self.deployments: list[Json] = []
        try:
            self.deployments = json.loads(path.read_text())["deployments"]
        except FileNotFoundError:
            pass
        except (OSError, ValueError, LookupError) as error:
            log.error("Ignoring the state file %s because of the loading error: %s", path, error)

    def newest(self) -> Json | None:
        """The last deployment that was begun, however it ended."""
        return self.deployments[0] if self.deployments else None

    def profiles(self) -> set[str]:
        """Profile links of the remembered deployments."""
        return {deployment["profile_path"] for deployment in self.deployments if deployment["profile_path"]}

    def begin(self, generation: Json, operation: str) -> Json:
        """Adds and returns a running deployment; it is on disk before anything is switched."""
        deployment = {
            "uuid": str(uuid.uuid4()),
            "reason": "",
            "generation": generation,
            "created_at": now(),
            "started_at": now(),
            "ended_at": None,
            "error_msg": "",
            "restart_comin": False,
            "profile_path": "",
            "status": "running",
            "operation": operation,
        }
        self.deployments = [deployment, *self.deployments][: self._capacity]
        self.save()
        return deployment

    def save(self) -> None:
        """Replaces the file in one step."""
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps({"deployments": self.deployments}))
        os.replace(new, self._path)
