"""`hostenv-provider init`: the repository of a new provider."""

import argparse

from hostenv_core.errors import HostenvError

from hostenv_provider.config import Config
from hostenv_provider.plan.definitions import ENVIRONMENT_TYPES
from hostenv_provider.plan.settings import ProviderSettings
from hostenv_provider.repository.repository import Repository


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "init",
        help="make the provider's repository",
        epilog="example: hostenv-provider init --hostname hosting.example.org --node node-a=192.0.2.1",
    )
    parser.add_argument(
        "--hostname", required=True, metavar="DOMAIN", help="domain of the environments' own names"
    )
    parser.add_argument(
        "--node",
        dest="nodes",
        action="append",
        required=True,
        type=_pair,
        metavar="NAME=ADDRESS",
        help="a machine that hosts environments; the first is the default",
    )
    parser.add_argument(
        "--node-for",
        action="append",
        default=[],
        type=_pair,
        metavar="TYPE=NODE",
        help=f"the node of environments of a type: default, {', '.join(ENVIRONMENT_TYPES)}",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Raises HostenvError."""
    nodes = _distinct(arguments.nodes, "--node")
    node_for = {"default": next(iter(nodes)), **_distinct(arguments.node_for, "--node-for")}
    settings = ProviderSettings.parse(
        {
            "hostenvHostname": arguments.hostname,
            "nodes": {name: {"address": address} for name, address in nodes.items()},
            "nodeFor": node_for,
        },
        config.public_url,
        "command line",
    )
    repository = Repository(config)
    with repository.locked():
        sha = repository.create(settings)
    print(f"{repository.bare} made for {', '.join(settings.nodes)}; its first commit is {sha}")
    return 0


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} has no =")
    return name, value


def _distinct(pairs: list[tuple[str, str]], option: str) -> dict[str, str]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise HostenvError(f"{option} names something twice: give each once")
    return result
