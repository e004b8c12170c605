"""How much one environment's backups may hold, so that none fills the disk of all (contract 4, /backups/)."""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hostenv_provider.config import Config

LOCKS_BYTES = 64 << 20
"""Bytes that an environment's locks may hold besides the quota: a restore needs a lock at any time."""

FILE_BYTES = 64 << 10
"""A file counts as at least this many bytes, so that every folder can be measured quickly."""

_MEASURED_SECONDS = 60.0
# Measuring takes one part in this many of a processor's time.
_SHARE = 20


def measure(folder: Path) -> int:
    """Bytes that count in `folder` and below; 0 if there is none."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += _counted(os.lstat(os.path.join(path, name)).st_size)
            except FileNotFoundError:
                # An upload under the name it has until it is whole.
                continue
    return total


def _counted(length: int) -> int:
    return max(length, FILE_BYTES)


@dataclass
class _Known:
    """What is known of one folder until it is measured again, at `until` (seconds of the monotonic clock)."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    until: float = 0.0
    used: int = 0
    refusal: str | None = None


class BackupQuota:
    """Measures the environments' folders now and then, and counts what is let in meanwhile."""

    def __init__(self, config: Config, now: Callable[[], float] = time.monotonic) -> None:
        self._folder = config.backups_dir
        self._quota = config.backup_quota
        self._now = now
        self._known: defaultdict[Path, _Known] = defaultdict(_Known)

    def admit(self, user: str, length: int) -> str | None:
        """None if `length` bytes of a backup may come and are counted; else why not, in one line."""
        return self._admit(
            self._folder / user,
            length,
            self._quota,
            f"the backups of {user} have used up their quota of {self._quota >> 20} MiB: "
            "prune them on the provider, or raise backupQuota",
        )

    def admit_lock(self, user: str, length: int) -> str | None:
        """The same for a lock, which a restore needs as well."""
        return self._admit(
            self._folder / user / "locks",
            length,
            LOCKS_BYTES,
            f"the locks of {user} have used up their {LOCKS_BYTES >> 20} MiB: remove them on the provider",
        )

    def refusal(self, user: str) -> str | None:
        """Why something was refused since the backups were last measured; None if nothing was."""
        return self._known[self._folder / user].refusal

    def _admit(self, folder: Path, length: int, limit: int, refusal: str) -> str | None:
        known = self._known[folder]
        with known.lock:
            began = self._now()
            if began >= known.until:
                known.used, known.refusal = measure(folder), None
                ended = self._now()
                known.until = ended + max(_MEASURED_SECONDS, _SHARE * (ended - began))
            if known.used + _counted(length) > limit:
                known.refusal = refusal
                return refusal
            known.used += _counted(length)
            return None
