"""`hostenv-node user-apply`: the part of an operation that runs as the environment's user.

Root sends a `Request` on standard input. The answer is one JSON object on standard output: `results` by the
name of the step's class, or `error`, `timedOut` and `unitFailed`; `left` says what could not be removed, a
line about each thing. One process does all steps, because starting Python takes long on a small machine.
"""

import json
from typing import IO, assert_never

from hostenv_core.errors import HostenvError
from hostenv_core.processes import CommandTimedOut

from hostenv_node.deadline import Deadline
from hostenv_node.environment import steps
from hostenv_node.environment.request import Request
from hostenv_node.errors import OperationTimedOut
from hostenv_node.user import (
    application,
    backup,
    candidate,
    database,
    delta,
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


def perform(source: IO[str], sink: IO[str]) -> int:
    """Read the request, do the steps, answer; exit status 0 or 1.

    Raises OperationFailed, without an answer, for what is no request.
    """
    request = Request.from_json(source.read())
    process = UserProcess(request.layout, request.tools, Deadline.after(request.timeout))
    results: dict[str, object] = {}
    answer: dict[str, object]
    try:
        for step in request.steps:
            results[type(step).__name__] = _do(process, step)
    except Exception as error:
        # Whatever a home holds, the job gets a reason.
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


def _do(process: UserProcess, step: steps.Step) -> object:
    match step:
        case steps.WriteFiles(directories, wanted):
            files.write_files(process, directories, wanted)
        case steps.WriteSecrets(wanted):
            files.write_secrets(process, wanted)
        case steps.LoadUnits():
            units.load(process)
        case steps.StartUnits(unit_files):
            units.start(process, unit_files)
        case steps.RefreshUnits(unit_files):
            units.bring_up(process, unit_files)
        case steps.StopUnits(manager_runs):
            units.stop(process, manager_runs=manager_runs)
        case steps.EndProcesses():
            kill.all_others(process)
        case steps.BeginRelease(name):
            release.begin(process, name)
        case steps.DropRelease(name):
            release.drop(process, name)
        case steps.LayOutRelease(name, docroot, operator):
            release.lay_out(process, name, docroot, operator)
        case steps.CheckCandidate(name, hostname, checks, kind):
            candidate.check(process, name, hostname, checks, kind)
        case steps.ActivateRelease(name, keep):
            release.activate(process, name, keep)
        case steps.Tidy(superfluous, keep):
            release.tidy(process, superfluous, keep)
        case steps.EnsureDatabase(unit_files):
            database.ensure(process, unit_files)
        case steps.PrepareApplication():
            application.prepare(process, step)
        case steps.Freeze():
            freeze.freeze(process)
        case steps.Hold(held):
            freeze.hold(process, held)
        case steps.Thaw():
            freeze.thaw(process)
        case steps.FindLosses():
            return losses.find(process)
        case steps.CheckData():
            backup.check(process)
        case steps.Backup(keys, repository, physical, live):
            return backup.backup(process, keys, repository=repository, physical=physical, live=live)
        case steps.LastDelta():
            return delta.last(process)
        case steps.MakeDelta(number, compare):
            delta.make(process, number, compare=compare)
        case steps.MakeRest():
            return delta.make_rest(process)
        case steps.ReceiveBase(unit_files):
            delta.receive(process, unit_files)
        case steps.TakeInDelta(number):
            delta.take_in(process, number)
        case steps.TakenIn():
            return delta.taken_in(process)
        case steps.Restore(job, key, snapshot):
            restore.restore(process, job, key, snapshot)
        case _:
            assert_never(step)
    return None
