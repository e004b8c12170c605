"""What DNS says about the names that projects ask for: of what each is an alias (contract 6)."""

from collections.abc import Mapping

from hostenv_core import names

from hostenv_provider.plan.definitions import EnvironmentDefinition
from hostenv_provider.plan.dns_gate import Lookup, TimeLimit
from hostenv_provider.plan.hosts import to_prove
from hostenv_provider.plan.plan import State
from hostenv_provider.plan.settings import ProviderSettings


def look_up(
    key: str,
    settings: ProviderSettings,
    definitions: Mapping[str, EnvironmentDefinition],
    state: State,
    names_of: Lookup,
    limit: TimeLimit,
) -> Mapping[str, set[str]]:
    """What each name that only DNS can give to the project `key` is an alias of, according to `names_of`.

    Names whose turn does not come within `limit` are left out, and so not given.
    """
    organisation, project = names.parse_input_name(key)
    asked = {
        names.user_name(organisation, project, name): each.virtual_hosts for name, each in definitions.items()
    }
    reserved = {user: each.virtual_hosts for user, each in state.reservations.items()}
    found: dict[str, set[str]] = {}
    for host in to_prove(key, settings, asked, reserved):
        try:
            limit.demand()
        except TimeoutError:
            break
        found[host] = names_of(host)
    return found
