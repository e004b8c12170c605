"""Whether anybody may log in as an environment's user: only where the environment is, or is on its way."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hostenv_core.processes import run

from hostenv_node import locks
from hostenv_node.config import Config

_SECONDS = 60.0
_SHADOW = Path("/etc/shadow")
# An account that expired long ago: sshd, su, cron and the user's own service manager refuse it.
_CLOSED = "1"
_CRONTABS = (Path("/var/spool/cron/crontabs"), Path("/var/spool/cron"), Path("/var/cron/tabs"))
_AT_JOBS = (Path("/var/spool/cron/atjobs"), Path("/var/spool/at"), Path("/var/spool/atjobs"))


def is_open(user: str) -> bool:
    """Whether the account is there and has not expired. Raises OSError."""
    return _expiry(user) == ""


def allow(config: Config, user: str) -> None:
    """Undo what `end` did to the account. Raises CommandFailed or OSError."""
    if _expiry(user) == _CLOSED:
        _expire(config, user, "")


def end(config: Config, user: str, uid: int) -> None:
    """From here on nobody logs in as the user, and neither cron nor at starts anything for it.

    What already runs continues. Raises CommandFailed or OSError.
    """
    if _expiry(user) == "":
        _expire(config, user, _CLOSED)
    for folder in _CRONTABS:
        (folder / user).unlink(missing_ok=True)
    for job in _files(_AT_JOBS, uid):
        job.unlink(missing_ok=True)


def _expire(config: Config, user: str, day: str) -> None:
    with locks.accounts(config):
        run([config.tool("usermod"), "--expiredate", day, user], timeout=_SECONDS)


def _expiry(user: str) -> str | None:
    """The day on which the account expires, since 1970; empty for none, None without such an account."""
    for line in _SHADOW.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields = line.split(":")
        if fields[0] == user and len(fields) > 7:
            return fields[7]
    return None


def _files(folders: tuple[Path, ...], uid: int) -> Iterator[Path]:
    for folder in folders:
        with suppress(FileNotFoundError, NotADirectoryError):
            for entry in os.scandir(folder):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_uid == uid and stat.S_ISREG(status.st_mode):
                        yield Path(entry.path)
