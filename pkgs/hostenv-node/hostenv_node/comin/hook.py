"""`hostenv-comin-activate`: comin's post-deployment command.

comin waits for it before the next deployment, and it dies with comin. So it only leaves a file and asks
systemd for the activation; the timer finds the file if that request is lost.
"""

import os
import sys
from collections.abc import Mapping

from hostenv_core.errors import HostenvError
from hostenv_core.processes import run

from hostenv_node.comin import spool
from hostenv_node.config import Config

_SECONDS = 10.0


def hand_over(config: Config, environ: Mapping[str, str]) -> None:
    """Spool what comin says in its `COMIN_…` variables and start the activation without waiting for it.

    Raises HostenvError when comin says nothing, or systemd cannot be asked.
    """
    commit = environ.get("COMIN_GIT_SHA")
    if not commit:
        raise HostenvError("COMIN_GIT_SHA is not set; this is comin's post-deployment command, comin runs it")
    spool.add(
        config,
        spool.Deployment(commit, environ.get("COMIN_STATUS", ""), environ.get("COMIN_ERROR_MSG", "")),
    )
    run([config.tool("systemctl"), "start", "--no-block", "hostenv-activate.service"], timeout=_SECONDS)


def main() -> int:
    """The command; exit status 1 with one line on standard error when it failed."""
    try:
        hand_over(Config.load(), os.environ)
    except (HostenvError, OSError) as error:
        print(f"hostenv-comin-activate: {error}", file=sys.stderr)
        return 1
    return 0
