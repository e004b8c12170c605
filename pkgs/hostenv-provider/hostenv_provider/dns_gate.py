"""The DNS gate: no certificate is asked for, and no redirect to it made, before the name leads here (contract 6)."""

from collections.abc import Callable, Collection, Mapping

from hostenv_provider.plan import Plan


def apply(
    plan: Plan,
    node_addresses: Mapping[str, str],
    addresses_of: Callable[[str], set[str]],
    users: Collection[str],
) -> tuple[Plan, list[str]]:
    """The plan of which `users`' virtual hosts lost `enableACME` and `forceSSL` where DNS does not lead here, and a
    warning for each.

    `node_addresses` are those of `provider.json`; `addresses_of` looks up a host name's IP addresses.
    """
    raise NotImplementedError


def lookup(host: str) -> set[str]:
    """The IP addresses of `host` by the system's resolver; empty if it has none."""
    raise NotImplementedError
