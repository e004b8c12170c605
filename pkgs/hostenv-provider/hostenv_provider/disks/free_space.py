"""Room on the disks that the provider writes, which may be several: data, Git and backups."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hostenv_core.errors import HostenvError

from hostenv_provider.config import Config
from hostenv_provider.disks.backup_quota import BackupQuota

JOB_BYTES = 256 << 20
"""Bytes that a job needs free on each disk that it writes."""

ACCEPTED_BYTES = 32 << 20
"""Bytes that must be free to accept a new job, so that running jobs can be recorded to their end."""


class NoRoom(HostenvError):
    """A disk is too full; this may be temporary."""


class Disks:
    """The disks of a provider, and the quota of each environment on that of backups."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.quota = BackupQuota(config)

    def demand_for_new_job(self) -> None:
        """Raises NoRoom unless the job database has room for one more job."""
        _demand(self._config.data_dir, ACCEPTED_BYTES, "a new job")

    def demand_for_planning(self) -> None:
        """Raises NoRoom unless a project can be fetched and planned."""
        for folder in (self._config.data_dir, self._config.git_dir):
            _demand(folder, JOB_BYTES, "a job")

    def demand_for_backups(self, users: Iterable[str]) -> None:
        """Raises NoRoom unless nodes can send backups of these environments."""
        _demand(self._config.backups_dir, JOB_BYTES, "a job with a backup")
        for user in users:
            refusal = self.quota.admit(user, 0)
            if refusal is not None:
                raise NoRoom(refusal)


@contextmanager
def said_in_words() -> Iterator[None]:
    """Turns the system's error of a disk that filled up meanwhile into NoRoom."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoRoom(f"{error.filename}: {error.strerror}: make room") from error


def _demand(folder: Path, needed: int, what: str) -> None:
    # restic-rest-server makes its own.
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    room = os.statvfs(existing)
    free = room.f_bavail * room.f_frsize
    if free < needed:
        raise NoRoom(
            f"{folder}: {what} needs {needed >> 20} MiB on this disk, {free >> 20} MiB are free: make room"
        )
