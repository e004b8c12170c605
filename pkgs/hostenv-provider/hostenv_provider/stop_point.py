"""Where fault tests end the service as `kill -9` does; off unless the variable is set."""

import os
import signal

VARIABLE = "HOSTENV_PROVIDER_STOP_AT"


def reached(stage: str) -> None:
    """Kill this process if `HOSTENV_PROVIDER_STOP_AT` names this stage (contract 5, or `push`, `pushed`)."""
    if os.environ.get(VARIABLE) == stage:
        os.kill(os.getpid(), signal.SIGKILL)
