"""`hostenv-provider comin-tokens`: the tokens by which nodes identify themselves (contract 4, 6)."""

import argparse

from hostenv_core.errors import HostenvError

from hostenv_provider.config import Config
from hostenv_provider.repository.repository import Repository
from hostenv_provider.secrets.tokens import TokenFile


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "comin-tokens",
        help="make tokens for new nodes and take those of removed ones; replace or show one",
        epilog="example: hostenv-provider comin-tokens --show node-a",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--rotate",
        metavar="NODE",
        help="replace NODE's token; the old one stays valid until the new one was used",
    )
    what.add_argument(
        "--rotate-all", action="store_true", help="replace every node's token, each as --rotate does"
    )
    what.add_argument("--show", metavar="NODE", help="print NODE's token")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and change nothing")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Raises HostenvError."""
    tokens = TokenFile(config)
    if arguments.show is not None:
        print(tokens.show(arguments.show))
        return 0
    nodes = sorted(Repository(config).published_settings().nodes)
    if arguments.rotate is not None or arguments.rotate_all:
        rotated = nodes if arguments.rotate is None else [arguments.rotate]
        if not set(rotated) <= set(nodes):
            raise HostenvError(
                f"no node {arguments.rotate!r} in provider.json; there are: {', '.join(nodes)}"
            )
        for node in rotated:
            tokens.show(node)
        if not arguments.dry_run:
            tokens.rotate(rotated)
        print(f"{_would(arguments)}replaced: {', '.join(rotated)}")
        return 0
    missing, others = tokens.missing(nodes), tokens.others(nodes)
    if not arguments.dry_run:
        tokens.create(missing)
        if others:
            tokens.revoke(others)
    print(f"{_would(arguments)}made: {', '.join(missing) or 'none, every node has a token'}")
    if others:
        print(f"{_would(arguments)}taken: {', '.join(others)}, no longer in provider.json")
    return 0


def _would(arguments: argparse.Namespace) -> str:
    return "would be " if arguments.dry_run else ""
