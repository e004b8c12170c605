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
    from hostenv_core.locks import locked_if_free

    from hostenv_node.jobs.agent import Agent
    from hostenv_node.jobs.api import Api
    from hostenv_node.runtime.database import copied_series
    from hostenv_node.runtime.operations import Runtime

    config = Config.load()
    with locked_if_free(config.lock_file) as free:
        if not free:
            print("hostenv-node: another activation is under way")
            return 0
        api = Api(config, database=copied_series(config))
        runtime = Runtime(config, api.secrets, api.await_answer)
        Agent(config, api, runtime, log=lambda line: print(line, flush=True)).run()
    return 0


def boot(_arguments: Sequence[str]) -> int:
    """`hostenv-node boot`."""
    from hostenv_node.jobs.api import Api
    from hostenv_node.runtime.operations import Runtime

    config = Config.load()
    api = Api(config)
    Runtime(config, api.secrets, api.await_answer).boot()
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


COMMANDS: Mapping[str, Command] = {
    "switch": Command(switch, ("TOPLEVEL",), "take over a generation; its switch-to-configuration runs this"),
    "activate": Command(
        activate, (), "carry out what the provider asks of this node; hostenv-activate.service"
    ),
    "boot": Command(boot, (), "recreate what a reboot loses; hostenv-runtime.service runs it before nginx"),
    "prepare-comin": Command(
        prepare_comin, (), "make comin forget a deployment that was cut short; for comin.service"
    ),
    "user-apply": Command(
        steps_as_user,
        (),
        "an operation's part as the environment's user; activate runs it, with JSON on standard input",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit status 1 with one line on standard error when it failed, 2 for wrong usage."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments[:1] in (["-h"], ["--help"]):
        print(_usage())
        return 0
    command = COMMANDS.get(arguments[0]) if arguments else None
    if command is None or len(arguments) - 1 != len(command.arguments):
        print(_usage(), file=sys.stderr)
        return 2
    try:
        return command.function(arguments[1:])
    except (HostenvError, OSError) as error:
        print(f"hostenv-node: {error}", file=sys.stderr)
        return 1


def _usage() -> str:
    lines = ["usage: hostenv-node COMMAND [ARGUMENT]", ""]
    for name, command in COMMANDS.items():
        lines.append(f"  {' '.join((name, *command.arguments)):<18} {command.help}")
    return "\n".join(lines)
