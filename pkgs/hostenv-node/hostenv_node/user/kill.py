"""Ending everything that runs as the environment's user, also log-ins and what they left; as that user."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from hostenv_node.errors import OperationFailed
from hostenv_node.user.process import UserProcess

_SECONDS = 30


def all_others(process: UserProcess) -> None:
    """Kill every other process of the user, whoever started it.

    Raises OperationFailed when one does not end.
    """
    uid = process.layout.uid
    if os.getuid() != uid:
        raise OperationFailed(f"this would end the processes of {os.getuid()}, and not those of {uid}")

    def ended() -> bool:
        # All at once, so that none can start another; this process is left out.
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        return not _others(uid)

    if not process.wait_until(ended, _SECONDS):
        raise OperationFailed(f"processes of {process.layout.user} do not end: {', '.join(_others(uid))}")


def _others(uid: int) -> list[str]:
    """Number and name of the user's other processes that have not ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            name, _, fields = (folder / "stat").read_text(errors="replace").rpartition(")")
            if folder.stat().st_uid == uid and fields.split()[0] != "Z" and folder.name != str(os.getpid()):
                found.append(name.replace("(", "", 1))
    return found
