"""Where fault tests end the service as `kill -9` does; off unless the variable is set."""

import os
import signal

VARIABLE = "HOSTENV_PROVIDER_STOP_AT"


def reached(stage: str) -> None:
    """Kill this process if `HOSTENV_PROVIDER_STOP_AT` names this stage.

    The stages are those of contract 5, then `push`, `pushed` and, after each node's own commit, `advanced`;
    and `bring` before a node sees what no job brings it.
    """
    if os.environ.get(VARIABLE) == stage:
        os.kill(os.getpid(), signal.SIGKILL)
