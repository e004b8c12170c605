"""`hostenv-provider service`: the long-running part, started by hostenv-provider.service."""

import argparse

from hostenv_provider import service
from hostenv_provider.config import Config


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "service",
        help="run the service in the foreground",
        epilog="example: hostenv-provider service (systemd does it as hostenv-provider.service)",
    )
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace, config: Config) -> int:
    """Raises HostenvError."""
    service.run(config)
    return 0
