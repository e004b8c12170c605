"""`hostenv-provider`, the command line (contract 6). Each command is a module with `register`."""

import argparse
import sys
from collections.abc import Sequence

from hostenv_provider.cli import (
    comin_tokens,
    dns_gate,
    init,
    jobs,
    migrate,
    plan,
    project,
    rollback,
    secrets,
    service,
    trigger,
)
from hostenv_provider.cli.identity import become_service_user
from hostenv_provider.config import Config
from hostenv_provider.errors import HostenvError

COMMANDS = (
    init,
    project,
    plan,
    dns_gate,
    comin_tokens,
    secrets,
    trigger,
    jobs,
    migrate,
    rollback,
    service,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 failed; wrong usage exits with 2."""
    parser = argparse.ArgumentParser(prog="hostenv-provider", description="The control plane of hostenv.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.register(commands)
    arguments = parser.parse_args(argv)
    try:
        config = Config.load()
        become_service_user(config)
        status: int = arguments.run(arguments, config)
    except (HostenvError, OSError) as error:
        print(f"hostenv-provider: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status
