"""The DNS gate: no certificate and no redirect to HTTPS before the name leads here (contract 6)."""

import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from hostenv_provider.plan import Environment, Plan
from hostenv_provider.schema import VirtualHost

Lookup = Callable[[str], set[str]]


def apply(
    plan: Plan, node_addresses: Mapping[str, str], addresses_of: Lookup, users: Collection[str]
) -> tuple[Plan, list[str]]:
    """Take `enableACME` and `forceSSL` from those virtual hosts of `users` whose name leads neither to the
    node nor to the previous one, with a warning for each.

    `node_addresses` are those of `provider.json`; `addresses_of` looks up a host name's IP addresses. A host
    that asks for neither is not looked up.
    """
    environments = dict(plan.environments)
    warnings: list[str] = []
    for user in sorted(users):
        environment = environments[user]
        hosts: dict[str, VirtualHost] = {}
        for name, host in environment.virtual_hosts.items():
            hosts[name] = host
            if (host.enable_acme or host.force_ssl) and not _leads_here(
                name, environment, node_addresses, addresses_of
            ):
                hosts[name] = VirtualHost()
                warnings.append(
                    f"{name} of {user} does not resolve to {environment.node}: served without certificate"
                    " and without redirect to HTTPS until it does"
                )
        environments[user] = replace(environment, virtual_hosts=hosts)
    return replace(plan, environments=environments), warnings


def lookup(host: str) -> set[str]:
    """The IP addresses of `host`, a name or an address, by the system's resolver; empty if it has none."""
    try:
        return {str(answer[4][0]) for answer in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()


def _leads_here(
    host: str, environment: Environment, node_addresses: Mapping[str, str], addresses_of: Lookup
) -> bool:
    found = addresses_of(host)
    addresses = (node_addresses.get(node or "") for node in (environment.node, environment.previous_node))
    return any(not found.isdisjoint(addresses_of(address)) for address in addresses if address is not None)
