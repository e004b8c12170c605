"""The DNS gate: no certificate and no redirect to HTTPS before the name leads here (contract 6)."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from hostenv_provider.plan.definitions import VirtualHost
from hostenv_provider.plan.plan import Environment, Plan

Lookup = Callable[[str], set[str]]
LIMIT = 60.0
"""Seconds that all look-ups of one job may take together, because other jobs wait during that time."""


class TimeLimit:
    """A time limit that all look-ups of a job share: LIMIT seconds by `clock`, from when it is made."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._deadline = clock() + LIMIT

    def demand(self) -> None:
        """Raises TimeoutError when the time is up."""
        if self._clock() >= self._deadline:
            raise TimeoutError


def apply(
    plan: Plan,
    node_addresses: Mapping[str, str],
    addresses_of: Lookup,
    users: Collection[str],
    limit: TimeLimit,
) -> tuple[Plan, list[str]]:
    """Take `enableACME` and `forceSSL` from those virtual hosts of `users` whose name leads neither to the
    node nor to the previous one, with a warning for each.

    `node_addresses` are those of `provider.json`; `addresses_of` looks up a host name's IP addresses, each
    name's once. A host that asks for neither is not looked up; one whose turn does not come within `limit`
    counts as one that leads elsewhere.
    """
    look_up = _Resolver(addresses_of, limit)
    late: list[str] = []
    environments = dict(plan.environments)
    warnings: list[str] = []
    for user in sorted(users):
        environment = environments[user]
        hosts: dict[str, VirtualHost] = {}
        for name, host in environment.virtual_hosts.items():
            hosts[name] = host
            if not (host.enable_acme or host.force_ssl):
                continue
            try:
                if _leads_here(name, environment, node_addresses, look_up):
                    continue
                warnings.append(
                    f"{name} of {user} does not resolve to {environment.node}: served without certificate"
                    " and without redirect to HTTPS until it does"
                )
            except TimeoutError:
                late.append(name)
            hosts[name] = VirtualHost()
        environments[user] = replace(environment, virtual_hosts=hosts)
    if late:
        warnings.append(
            f"{late[0]} and {len(late) - 1} more names were not looked up within {LIMIT:.0f} s: served"
            " without certificate and without redirect to HTTPS until the next deployment"
        )
    return replace(plan, environments=environments), warnings


class _Resolver:
    """Looks each name up once. Raises TimeoutError for a new one when time is up."""

    def __init__(self, addresses_of: Lookup, limit: TimeLimit) -> None:
        self._addresses_of = addresses_of
        self._limit = limit
        self._known: dict[str, set[str]] = {}

    def __call__(self, host: str) -> set[str]:
        if host not in self._known:
            self._limit.demand()
            self._known[host] = self._addresses_of(host)
        return self._known[host]


def _leads_here(
    host: str, environment: Environment, node_addresses: Mapping[str, str], addresses_of: Lookup
) -> bool:
    found = addresses_of(host)
    addresses = (node_addresses.get(node or "") for node in (environment.node, environment.previous_node))
    return any(not found.isdisjoint(addresses_of(address)) for address in addresses if address is not None)
