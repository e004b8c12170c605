"""`hostenv-provider migrate`: move an environment to another node (contract 6)."""

import argparse

from hostenv_core.errors import HostenvError

from hostenv_provider.cli.answer import add_json, start
from hostenv_provider.config import Config
from hostenv_provider.web.client import Client


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "migrate",
        help="place an environment on another node and move its data there",
        epilog="example: hostenv-provider migrate demo__drupal/main --to node-b",
    )
    parser.add_argument("environment", metavar="ENV", help="user name or <org>__<project>/<environment>")
    parser.add_argument("--to", required=True, metavar="NODE", help="the node that is to host it")
    parser.add_argument(
        "--migration-source",
        metavar="ENV=NODE",
        help="take the data from NODE instead of the node where the environment is deployed",
    )
    parser.add_argument("--skip-migrations", action="store_true", help="move without data")
    parser.add_argument(
        "--accept-loss",
        action="store_true",
        help="move although other databases and database accounts are left behind, which the job then names",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Raises HostenvError."""
    source = None
    if arguments.migration_source is not None:
        environment, _, source = arguments.migration_source.rpartition("=")
        if environment != arguments.environment:
            raise HostenvError(
                f"--migration-source {arguments.migration_source!r}: must begin with {arguments.environment}="
            )
    request = {
        "environment": arguments.environment,
        "node": arguments.to,
        "migrationSource": source,
        "skipMigrations": arguments.skip_migrations,
        "acceptLoss": arguments.accept_loss,
    }
    return start(Client(config), request, as_json=arguments.json)
