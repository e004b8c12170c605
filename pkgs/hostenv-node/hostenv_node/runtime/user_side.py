"""`hostenv-node user-apply`: the part of an operation that runs as the environment's user.

Root sends one JSON object on standard input, with the steps in order. The answer is one JSON object on
standard output: `results` by step, or `error`, `timedOut` and `unitFailed`; `left` says what could not be
removed, a line about each thing. One process does all steps, for starting Python is dear on a small machine.
"""

import json
from collections.abc import Callable, Mapping
from typing import IO

from hostenv_node.errors import HostenvError
from hostenv_node.operations import Deadline, OperationTimedOut
from hostenv_node.run import CommandTimedOut
from hostenv_node.runtime import (
    user_application,
    user_backup,
    user_candidate,
    user_database,
    user_files,
    user_freeze,
    user_losses,
    user_paths,
    user_processes,
    user_release,
    user_restore,
    user_units,
)
from hostenv_node.runtime.layout import Layout
from hostenv_node.runtime.user_process import UserProcess

STEPS: Mapping[str, Callable[[UserProcess, Mapping[str, object]], object]] = {
    "files": user_files.write_files,
    "secrets": user_files.write_secrets,
    "begin": user_release.begin,
    "drop": user_release.drop,
    "layOut": user_release.lay_out,
    "candidate": user_candidate.check,
    "switch": user_release.switch,
    "tidy": user_release.tidy,
    "load": user_units.load,
    "start": user_units.start,
    "stop": user_units.stop,
    "endProcesses": user_processes.end,
    "freeze": user_freeze.freeze,
    "hold": user_freeze.hold,
    "thaw": user_freeze.thaw,
    "database": user_database.ensure,
    "application": user_application.apply,
    "takeUp": user_units.take_up,
    "look": user_losses.look,
    "check": user_backup.check,
    "backup": user_backup.backup,
    "restore": user_restore.restore,
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
            "unitFailed": isinstance(error, user_units.UnitFailed),
        }
    else:
        answer = {"results": results}
    json.dump({**answer, "left": [*process.left, *user_paths.tidy(process)]}, sink)
    return 1 if "error" in answer else 0
