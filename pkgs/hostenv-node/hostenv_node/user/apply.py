"""`hostenv-node user-apply`: the part of an operation that runs as the environment's user.

Root sends one JSON object on standard input, with the steps in order. The answer is one JSON object on
standard output: `results` by step, or `error`, `timedOut` and `unitFailed`; `left` says what could not be
removed, a line about each thing. One process does all steps, for starting Python is dear on a small machine.
"""

import json
from collections.abc import Callable, Mapping
from typing import IO

from hostenv_node.deadline import Deadline
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import HostenvError, OperationTimedOut
from hostenv_node.run import CommandTimedOut
from hostenv_node.user import (
    application,
    backup,
    candidate,
    database,
    files,
    freeze,
    kill,
    losses,
    paths,
    release,
    restore,
    units,
)
from hostenv_node.user.process import UserProcess

STEPS: Mapping[str, Callable[[UserProcess, Mapping[str, object]], object]] = {
    "files": files.write_files,
    "secrets": files.write_secrets,
    "begin": release.begin,
    "drop": release.drop,
    "layOut": release.lay_out,
    "candidate": candidate.check,
    "switch": release.activate,
    "tidy": release.tidy,
    "load": units.load,
    "start": units.start,
    "stop": units.stop,
    "endProcesses": kill.end,
    "freeze": freeze.freeze,
    "hold": freeze.hold,
    "thaw": freeze.thaw,
    "database": database.ensure,
    "application": application.apply,
    "takeUp": units.take_up,
    "look": losses.look,
    "check": backup.check,
    "backup": backup.backup,
    "restore": restore.restore,
}


def perform(source: IO[str], sink: IO[str]) -> int:
    """Read the request, do the steps, answer; exit status 0 or 1."""
    request = json.load(source)
    layout = Layout.from_json(request["layout"])
    process = UserProcess(layout, request["tools"], Deadline.after(request["timeout"]))
    results: dict[str, object] = {}
    answer: dict[str, object]
    try:
        for name, arguments in request["steps"]:
            results[name] = STEPS[name](process, arguments)
    except Exception as error:
        # Whatever a home holds, its job gets a reason.
        known = isinstance(error, HostenvError | OSError)
        answer = {
            "error": str(error) if known else f"internal error: {type(error).__name__} {error}",
            "timedOut": isinstance(error, OperationTimedOut | CommandTimedOut),
            "unitFailed": isinstance(error, units.UnitFailed),
        }
    else:
        answer = {"results": results}
    json.dump({**answer, "left": [*process.left, *paths.tidy(process)]}, sink)
    return 1 if "error" in answer else 0
