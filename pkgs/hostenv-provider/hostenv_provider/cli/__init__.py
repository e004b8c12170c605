"""`hostenv-provider`, the command line (contract 6). Each command is a module with `register`."""

import argparse
import sys
from collections.abc import Sequence

from hostenv_core.errors import HostenvError

from hostenv_provider.cli import (
    cancel,
    comin_tokens,
    completion,
    dns_gate,
    evaluate,
    init,
    jobs,
    migrate,
    node_compromised,
    plan,
    project,
    rollback,
    secrets,
    service,
    trigger,
)
from hostenv_provider.cli.identity import become_service_user
from hostenv_provider.config import Config

COMMANDS = (
    init,
    project,
    plan,
    dns_gate,
    comin_tokens,
    secrets,
    node_compromised,
    trigger,
    jobs,
    cancel,
    migrate,
    rollback,
    service,
    evaluate,
    completion,
)


def build_parser() -> argparse.ArgumentParser:
    """The command line with all its commands."""
    parser = argparse.ArgumentParser(
        prog="hostenv-provider",
        description="The control plane of hostenv: says which node hosts which environment, and moves them.",
        epilog="COMMAND --help explains a command. Exit status: 0 done, 1 failed, 2 wrong usage.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 failed; wrong usage exits with 2."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.command == completion.NAME:
        print(completion.script(parser), end="")
        return 0
    try:
        config = Config.load()
        # In the box of an untrusted program no command changes its user.
        if arguments.command != evaluate.NAME:
            become_service_user(config)
        status: int = arguments.run(arguments, config)
    except (HostenvError, OSError) as error:
        print(f"hostenv-provider: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status
