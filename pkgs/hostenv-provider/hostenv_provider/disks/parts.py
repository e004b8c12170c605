"""Parts of live moves on their way from node to node: files, each whole or absent (contract 4, transfer)."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.files import sync_directory


class Parts:
    """Below `<job>/<user>/` of a folder, until the job ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, job_id: str, user: str, name: str) -> Path | None:
        """The part's file, if it has come."""
        place = self._folder / job_id / user / name
        return place if place.exists() else None

    def keep(self, job_id: str, user: str, name: str, save: Callable[[Path], None]) -> None:
        """Have `save` write the part to a file, durably, and give it its name; it replaces an earlier one.

        Raises HostenvError when it cannot be written, and what `save` raises.
        """
        folder = self._folder / job_id / user
        unfinished = folder / f".{name}.{time.monotonic_ns()}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                save(unfinished)
                os.replace(unfinished, folder / name)
            finally:
                unfinished.unlink(missing_ok=True)
            sync_directory(folder)
        except OSError as error:
            raise HostenvError(f"{folder}: cannot be written ({error.strerror}): free space") from error

    def forget(self, is_needed: Callable[[str], bool]) -> None:
        """Remove the parts of all jobs but those that are needed. Raises OSError."""
        for folder in self._folder.iterdir() if self._folder.exists() else ():
            if not is_needed(folder.name):
                shutil.rmtree(folder)
