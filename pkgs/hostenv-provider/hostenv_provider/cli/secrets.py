"""`hostenv-provider secrets`: a project's own secrets (contract 6), and new ones for those that are made."""

import argparse
import sys

from hostenv_core.errors import HostenvError

from hostenv_provider.config import Config
from hostenv_provider.repository.repository import Repository
from hostenv_provider.secrets import webhook_secrets
from hostenv_provider.secrets.environment_secrets import MAX_VALUE, EnvironmentSecrets
from hostenv_provider.web.client import Client


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    secrets = commands.add_parser("secrets", help="secrets that environments get from the provider")
    actions = secrets.add_subparsers(required=True, metavar="set|rotate")
    parser = actions.add_parser(
        "set",
        help="set a secret; the value is read from standard input, so that it stands in no process list",
        epilog="example: hostenv-provider secrets set demo__drupal/main API_KEY < key.txt",
    )
    parser.add_argument("environment", metavar="ENV", help="user name or <org>__<project>/<environment>")
    parser.add_argument("key", metavar="KEY", help="name of the secret: letters, digits and _")
    parser.set_defaults(run=run)
    parser = actions.add_parser(
        "rotate",
        help="replace all secrets of one kind",
        epilog="example: hostenv-provider secrets rotate webhooks",
    )
    parser.add_argument(
        "kind",
        choices=("webhooks", "backups"),
        help="webhooks: prints the new ones for your Git hosts; an old one passes until the new one was used."
        " backups: accounts and restic keys; an old one ends once nothing is under way with it",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and change nothing")
    parser.set_defaults(run=rotate)


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Raises HostenvError."""
    environment = Repository(config).published_plan().resolve(arguments.environment)
    try:
        value = sys.stdin.buffer.read(MAX_VALUE + 2).decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise HostenvError(f"secret {arguments.key}: standard input is not UTF-8 text") from None
    EnvironmentSecrets(config).set(environment.user_name, arguments.key, value)
    print(f"{environment.user_name}: {arguments.key} set; the environment gets it with its next deployment")
    return 0


def rotate(arguments: argparse.Namespace, config: Config) -> int:
    """Raises HostenvError."""
    if arguments.kind == "backups":
        return _rotate_backups(arguments, config)
    plan = Repository(config).published_plan()
    for project in webhook_secrets.guarded(config):
        print(f"{project}: {'would be replaced' if arguments.dry_run else 'replaced'}")
        if not arguments.dry_run:
            value = webhook_secrets.rotate(config, project)
            for environment in plan.of_project(project).values():
                print(f"  webhook {config.public_url}/webhook/{environment.project_name_hash}")
            print(f"  secret, not shown again: {value}")
    return 0


def _rotate_backups(arguments: argparse.Namespace, config: Config) -> int:
    if arguments.dry_run:
        print("would be replaced: all nodes' accounts and keys of backups")
        return 0
    done = Client(config).replace_backup_accounts()
    print(f"replaced: {done['replaced']} accounts; each node gets its new one with what it next does")
    later = done["later"]
    assert isinstance(later, list)
    if later:
        print(f"on the move, so run this again afterwards: {', '.join(later)}")
    return 0
