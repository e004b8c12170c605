"""Which host names an environment gets of those that its project asks for (contract 6). Data in, data out.

Every environment has its own, `<userName>.<hostenvHostname>`. Any other must be granted to the project by
the operator, outright or as soon as DNS proves it, and the first owner keeps it. A host that is not given is
left out with a warning, and the rest is served: a flake must not stop any deployment, not even that of its
own project.
"""

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from hostenv_core import names

from hostenv_provider.plan.definitions import VirtualHost
from hostenv_provider.plan.settings import ProviderSettings

Hosts = Mapping[str, VirtualHost]


def to_prove(
    key: str, settings: ProviderSettings, asked: Mapping[str, Hosts], reserved: Mapping[str, Collection[str]]
) -> list[str]:
    """Those of the hosts asked for that only DNS can give to an environment of the project `key`.

    `asked` and `reserved` are those of `allot`. What an environment has needs no proof again.
    """
    grants = settings.grants.get(key, ())
    new = {host for user, hosts in asked.items() for host in hosts if host not in reserved.get(user, ())}
    return [host for host in sorted(new) if not _is_granted(grants, host) and _is_provable(grants, host)]


def allot(
    key: str,
    settings: ProviderSettings,
    asked: Mapping[str, Hosts],
    reserved: Mapping[str, Collection[str]],
    aliases: Mapping[str, Collection[str]],
) -> tuple[dict[str, Hosts], list[str]]:
    """The hosts of each environment of the project `key`, and a warning for each that it does not get.

    `asked` are those that the project's environments ask for and `reserved` those that all environments
    have, or had when they left the plan, both by user. Whoever already had a name comes before those who ask
    for it now. `aliases` says what each host `to_prove` is an alias of.
    """
    owners = {host: user for user, hosts in reserved.items() if user not in asked for host in hosts}
    given: dict[str, dict[str, VirtualHost]] = {}
    for user in asked:
        canonical = f"{user}.{settings.hostenv_hostname}"
        given[user] = {canonical: asked[user].get(canonical, VirtualHost())}
    warnings = []
    wanted = sorted(
        (host not in reserved.get(user, ()), user, host)
        for user, hosts in asked.items()
        for host in hosts
        if host not in given[user]
    )
    for new, user, host in wanted:
        refused = _refusal(key, settings, user, host, aliases.get(host, ()), new=new)
        owner = owners.setdefault(host, user) if refused is None else user
        if owner != user:
            refused = f"it belongs to {owner}"
        if refused is None:
            given[user][host] = asked[user][host]
        else:
            warnings.append(f"{host} of {user} is not served: {refused}")
    return dict(given), warnings


def matches(grant: str, host: str) -> bool:
    """Whether a grant covers a host: exactly its name, `*.` and a domain that it is below, or `*`."""
    return grant in (host, "*") or (grant.startswith("*.") and host.endswith(grant[1:]))


def _is_granted(grants: Collection[str], host: str) -> bool:
    return any(matches(grant, host) for grant in grants)


def _is_provable(grants: Collection[str], host: str) -> bool:
    return _is_granted(
        [grant.removeprefix(names.PROVED) for grant in grants if grant.startswith(names.PROVED)], host
    )


def _refusal(
    key: str, settings: ProviderSettings, user: str, host: str, aliases: Collection[str], *, new: bool
) -> str | None:
    """Why the environment does not get a host, whoever has it; None if it may."""
    grants = settings.grants.get(key)
    label, _, domain = host.partition(".")
    if host == urlsplit(settings.public_url).hostname:
        return "it is the provider's own name"
    if domain == settings.hostenv_hostname and names.is_user_name(label):
        return "it is the name of another environment"
    if _below(host, settings.hostenv_hostname):
        # A pattern does not cover the provider's own domain; only the exact name does.
        grants = None if grants is None else tuple(grant for grant in grants if grant == host)
        if grants is None and new:
            return f"names at or below {settings.hostenv_hostname} are reserved"
    # A project that is older than grants continues as before, until the operator decides.
    if grants is None or _is_granted(grants, host):
        return None
    refused = f"it is not granted to {key}: hostenv-provider project hosts {key} --add {host}"
    if not _is_provable(grants, host):
        return refused
    own = f"{user}.{settings.hostenv_hostname}"
    if new and own not in aliases:
        return f"{refused}; or make it an alias (CNAME) of {own} and push again"
    return None


def _below(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")
