"""The command `hostenv-node`. Each command imports only the modules it needs: starting up is slow."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostenv_core.errors import HostenvError

from hostenv_node.config import Config


def switch(arguments: Sequence[str]) -> int:
    """`hostenv-node switch TOPLEVEL`."""
    from hostenv_node.comin.switch import switch as take_over
    from hostenv_node.jobs.api import Api

    config = Config.load()
    generation = take_over(config, Api(config).slice, Path(arguments[0]))
    print(f"hostenv-node: on {generation.commit}")
    return 0


def activate(_arguments: Sequence[str]) -> int:
    """`hostenv-node activate`: one run, unless another one is under way."""
    from hostenv_node import locks
    from hostenv_node.jobs import units
    from hostenv_node.jobs.activation import Activation
    from hostenv_node.jobs.api import Api
    from hostenv_node.runtime.database import copied_series
    from hostenv_node.runtime.operations import Runtime

    config = Config.load()
    with locks.activation(config) as free:
        if not free:
            print("hostenv-node: another activation is under way")
            return 0
        api = Api(config, database=copied_series(config))
        runtime = Runtime(config, api.secrets, api.await_answer, api)
        Activation(config, api, runtime, lambda jobs: units.start(config, jobs), _log).run()
    return 0


def job(arguments: Sequence[str]) -> int:
    """`hostenv-node job JOB`: one run for a job, unless another one is under way."""
    from hostenv_node import locks
    from hostenv_node.jobs.api import Api
    from hostenv_node.jobs.job_run import JobRun
    from hostenv_node.jobs.journal_store import JournalStore
    from hostenv_node.runtime.operations import Runtime

    config, job_id = Config.load(), arguments[0]
    if JournalStore(config.jobs_dir).get(job_id) is None:
        print(f"hostenv-node: job {job_id} is not open here")
        return 0
    with locks.job(config, job_id) as free:
        if not free:
            print(f"hostenv-node: job {job_id} is worked on already")
            return 0
        api = Api(config)
        runtime = Runtime(config, api.secrets, api.await_answer, api)
        JobRun(config, api, runtime, job_id, _log).run()
    return 0


def stop_steps(arguments: Sequence[str]) -> int:
    """`hostenv-node stop-steps JOB`."""
    from hostenv_node.jobs.journal_store import JournalStore
    from hostenv_node.runtime import as_user

    config = Config.load()
    journal = JournalStore(config.jobs_dir).get(arguments[0])
    as_user.stop_steps(config, journal.users if journal is not None else ())
    return 0


def jobs(arguments: Sequence[str]) -> int:
    """`hostenv-node jobs [--json]`."""
    import json
    from dataclasses import asdict
    from datetime import UTC, datetime

    from hostenv_node.jobs import units
    from hostenv_node.jobs.journal_store import JournalStore
    from hostenv_node.jobs.overview import overview

    config = Config.load()
    store = JournalStore(config.jobs_dir)
    found = overview(store.load())
    runs = units.running(config, [each.job for each in found])
    since = {
        each.job: datetime.fromtimestamp(store.changed_at(each.job), UTC).isoformat(timespec="seconds")
        for each in found
    }
    if arguments:
        shown = [{**asdict(each), "since": since[each.job], "running": each.job in runs} for each in found]
        print(json.dumps(shown, indent=1))
        return 0
    for each in found:
        what = f"{each.op} of {each.user}" if each.op else "all actions"
        unit = "" if each.job in runs else "; its unit does not run, the timer starts it"
        print(f"{each.job}  since {since[each.job]}  {what}: {each.doing}{unit}")
    if not found:
        print("no job is open here")
    return 0


def boot(_arguments: Sequence[str]) -> int:
    """`hostenv-node boot`."""
    from hostenv_node.jobs.api import Api
    from hostenv_node.runtime.operations import Runtime

    config = Config.load()
    api = Api(config)
    Runtime(config, api.secrets, api.await_answer, api).boot()
    return 0


def prepare_comin(_arguments: Sequence[str]) -> int:
    """`hostenv-node prepare-comin`, which needs no configuration."""
    from hostenv_node.comin import store

    store.prepare(store.STATE)
    return 0


def steps_as_user(_arguments: Sequence[str]) -> int:
    """`hostenv-node user-apply`: root's own helper, which reads no configuration."""
    from hostenv_node.user.apply import perform

    return perform(sys.stdin, sys.stdout)


@dataclass(frozen=True)
class Command:
    """A sub-command: the function behind it, its arguments, and one line about it.

    The function takes the arguments and returns the exit status.
    """

    function: Callable[[Sequence[str]], int]
    arguments: tuple[str, ...]
    help: str
    option: str | None = None
    """What may follow the arguments."""

    def takes(self, arguments: Sequence[str]) -> bool:
        """Whether these are arguments that the command has."""
        required = len(self.arguments)
        return len(arguments) >= required and list(arguments[required:]) in ([], [self.option])


COMMANDS: Mapping[str, Command] = {
    "switch": Command(switch, ("TOPLEVEL",), "take over a generation; its switch-to-configuration runs this"),
    "activate": Command(
        activate, (), "take in what the provider asks of this node, and start it; hostenv-activate.service"
    ),
    "job": Command(job, ("JOB",), "carry out this node's part of a job; hostenv-job@JOB.service"),
    "jobs": Command(jobs, (), "what goes on with the jobs that are open on this node", "--json"),
    "stop-steps": Command(
        stop_steps,
        ("JOB",),
        "end what a job has done by environments' users; when hostenv-job@JOB.service ends",
    ),
    "boot": Command(boot, (), "recreate what a reboot loses; hostenv-runtime.service runs it before nginx"),
    "prepare-comin": Command(
        prepare_comin, (), "make comin forget a deployment that was interrupted; for comin.service"
    ),
    "user-apply": Command(
        steps_as_user,
        (),
        "an operation's part as the environment's user; job runs it, with JSON on standard input",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit status 1 with one line on standard error when it failed, 2 for wrong usage."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments[:1] in (["-h"], ["--help"]):
        print(_usage())
        return 0
    command = COMMANDS.get(arguments[0]) if arguments else None
    if command is None or not command.takes(arguments[1:]):
        print(_usage(), file=sys.stderr)
        return 2
    try:
        return command.function(arguments[1:])
    except (HostenvError, OSError) as error:
        print(f"hostenv-node: {error}", file=sys.stderr)
        return 1


def _log(line: str) -> None:
    print(line, flush=True)


def _usage() -> str:
    lines = ["usage: hostenv-node COMMAND [ARGUMENT]", ""]
    for name, command in COMMANDS.items():
        option = (f"[{command.option}]",) if command.option else ()
        lines.append(f"  {' '.join((name, *command.arguments, *option)):<18} {command.help}")
    return "\n".join(lines)
