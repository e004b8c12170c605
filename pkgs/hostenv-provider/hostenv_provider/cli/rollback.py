"""`hostenv-provider rollback`: an environment's code back to the release before (contract 6)."""

import argparse

from hostenv_provider.cli.answer import add_json, start
from hostenv_provider.config import Config
from hostenv_provider.web.client import Client


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "rollback",
        help="go back to the release before the deployed one; code only, data stays as it is",
        epilog="example: hostenv-provider rollback demo__drupal/main",
    )
    parser.add_argument("environment", metavar="ENV", help="user name or <org>__<project>/<environment>")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Raises HostenvError."""
    request: dict[str, object] = {"environment": arguments.environment, "rollback": True}
    return start(Client(config), request, as_json=arguments.json)
