"""`hostenv-provider trigger`: deploy an environment as a push of its branch would."""

import argparse

from hostenv_provider.cli.answer import add_json, start
from hostenv_provider.config import Config
from hostenv_provider.web.client import Client


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "trigger",
        help="deploy the head of an environment's branch",
        epilog="example: hostenv-provider trigger demo__drupal/main",
    )
    parser.add_argument("environment", metavar="ENV", help="user name or <org>__<project>/<environment>")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Raises HostenvError."""
    return start(Client(config), {"environment": arguments.environment}, as_json=arguments.json)
