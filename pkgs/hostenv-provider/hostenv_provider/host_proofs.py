"""What DNS says about the names that projects ask for: of what each is an alias (contract 6)."""

import socket
import time
from collections.abc import Callable, Iterable, Mapping

from hostenv_provider.dns_gate import Lookup, Resolver
from hostenv_provider.hosts import to_prove
from hostenv_provider.plan import State
from hostenv_provider.schema import EnvironmentDefinition, ProviderSettings


def look_up(
    key: str,
    settings: ProviderSettings,
    definitions: Iterable[EnvironmentDefinition],
    state: State,
    names_of: Lookup,
    clock: Callable[[], float] = time.monotonic,
) -> Mapping[str, set[str]]:
    """Of what, by `names_of`, each name is an alias that only DNS can give to the project `key`.

    Names whose turn does not come in time are left out, and so not given.
    """
    held = {host for each in state.reservations.values() for host in each.virtual_hosts}
    resolver = Resolver(names_of, clock)
    found: dict[str, set[str]] = {}
    for host in to_prove(key, settings, [each.virtual_hosts for each in definitions], held):
        try:
            found[host] = resolver(host)
        except TimeoutError:
            break
    return found


def names_of(host: str) -> set[str]:
    """All names on the way from `host` to its address, by the system's resolver; empty if it has none."""
    try:
        name, aliases, _ = socket.gethostbyname_ex(host)
    except (OSError, UnicodeError):
        return set()
    return {each.rstrip(".").lower() for each in (name, *aliases)}
