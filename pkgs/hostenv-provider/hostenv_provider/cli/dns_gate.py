"""`hostenv-provider dns-gate`: the gate by hand, on the plan as it is."""

import argparse
import sys
import time

from hostenv_core.errors import HostenvError

from hostenv_provider import dns
from hostenv_provider.config import Config
from hostenv_provider.plan import dns_gate, generated
from hostenv_provider.repository.planning import publish
from hostenv_provider.repository.repository import Repository


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "dns-gate",
        help="take certificates and redirects to HTTPS from virtual hosts whose name leads elsewhere",
        epilog="example: hostenv-provider dns-gate --node node-a --dry-run",
    )
    parser.add_argument("-n", "--node", metavar="NODE", help="only the environments of this node")
    parser.add_argument("--dry-run", action="store_true", help="show the difference and write nothing")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Raises HostenvError."""
    repository = Repository(config)
    with repository.changing():
        settings, before, state = repository.read_settings(), repository.read_plan(), repository.read_state()
        if arguments.node is not None and arguments.node not in settings.nodes:
            raise HostenvError(
                f"no node {arguments.node!r} in provider.json; there are: {', '.join(settings.nodes)}"
            )
        users = [user for user, each in before.environments.items() if arguments.node in (None, each.node)]
        after, warnings = dns_gate.apply(
            before, settings.addresses, dns.addresses_of, users, dns_gate.TimeLimit(time.monotonic)
        )
        for warning in warnings:
            print(f"hostenv-provider: warning: {warning}", file=sys.stderr)
        if arguments.dry_run:
            print(
                generated.unified_diff(generated.render(before, state), generated.render(after, state)),
                end="",
            )
        elif after != before:
            repository.write_generated(after, state)
            publish(repository, "Virtual hosts whose names lead elsewhere lose certificate and redirect")
    return 0
