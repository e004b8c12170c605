"""Where environments run, as whom and from which source (contract 6). Data in, data out."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from hostenv_core import names
from hostenv_core.checks import Check
from hostenv_core.errors import HostenvError, InvalidData
from hostenv_core.lines import shown
from hostenv_core.names import FIRST_UID, LAST_UID

from hostenv_provider.plan.definitions import EnvironmentDefinition, VirtualHost
from hostenv_provider.plan.hosts import allot
from hostenv_provider.plan.plan import Environment, Plan, Reservation, Source, State
from hostenv_provider.plan.settings import ProviderSettings


def moving(
    definitions: Mapping[str, EnvironmentDefinition],
    recorded: Mapping[str, Source],
    url: str,
    moves: Callable[[str], bool],
) -> list[str]:
    """The names of the enabled environments that need the head of their branch.

    Those are the ones whose branch `moves`, and those without a recorded source of this address and branch.
    """
    return [
        name
        for name, definition in sorted(definitions.items())
        if definition.enable
        and (
            moves(definition.git_ref)
            or name not in recorded
            or (recorded[name].url, recorded[name].ref) != (url, definition.git_ref)
        )
    ]


def make_plan(
    settings: ProviderSettings,
    organisation: str,
    project: str,
    definitions: Mapping[str, EnvironmentDefinition],
    sources: Mapping[str, Source],
    previous: Plan,
    state: State,
    aliases: Mapping[str, Collection[str]],
) -> tuple[Plan, State, list[str]]:
    """Plan one project's environments; those of all others are carried over unchanged (contract 5, scope).

    The third value is warnings about what the project asks for and does not get (`hosts`); `aliases` is that
    of `hosts.allot`.
    `sources` holds, by the environment's name, the new source of each that moves; the others keep theirs. A
    disabled environment that never had one is left out.
    Raises InvalidData if an environment has no source or the user of another, or if the project's name
    cannot be a database's name.
    """
    key = names.project_key(organisation, project)
    names.demand_database_name(key, project)
    environments = {user: each for user, each in previous.environments.items() if each.project_key != key}
    reservations = dict(state.reservations)
    users = {names.user_name(organisation, project, name): name for name in sorted(definitions)}
    planned = {
        user: definitions[name]
        for user, name in users.items()
        if definitions[name].enable or sources.get(name) or user in previous.environments
    }
    given, warnings = allot(
        key,
        settings,
        {user: definition.virtual_hosts for user, definition in planned.items()},
        {user: reservation.virtual_hosts for user, reservation in reservations.items()},
        aliases,
    )
    for user, definition in planned.items():
        name = definition.name
        if user in environments:
            taken = environments[user]
            raise InvalidData(
                f"{key}: environments.{name}: its user {user} is already that of"
                f" {taken.project_key}/{taken.name}: choose another name"
            )
        before = previous.environments.get(user)
        source = sources.get(name) or (before.source if before else None)
        if source is None:
            raise InvalidData(f"{key}: environments.{name}: no revision of {definition.git_ref} is known")
        checks, left_out = _checks(key, user, definition, given[user])
        warnings += left_out
        served = replace(definition, virtual_hosts=given[user], checks=checks)
        environment = _place(settings, organisation, project, served, source, before, reservations)
        environments[user] = environment
        reservations[user] = Reservation(
            environment.uid, environment.node, tuple(sorted(environment.virtual_hosts))
        )
    plan = replace(Plan.empty(settings), environments=dict(sorted(environments.items())))
    return plan, State(dict(sorted(reservations.items()))), warnings


def _place(
    settings: ProviderSettings,
    organisation: str,
    project: str,
    definition: EnvironmentDefinition,
    source: Source,
    before: Environment | None,
    reservations: Mapping[str, Reservation],
) -> Environment:
    user = names.user_name(organisation, project, definition.name)
    node = (
        settings.placements.get(user)
        or settings.node_for.get(definition.type)
        or settings.node_for["default"]
    )
    previous_node = None
    if before is not None:
        previous_node = before.node if before.node != node else before.previous_node
    hostname = f"{user}.{settings.hostenv_hostname}"
    return Environment(
        organisation=names.normalise(organisation),
        project=names.normalise(project),
        name=definition.name,
        enable=definition.enable,
        type=definition.type,
        node=node,
        previous_node=previous_node,
        uid=reservations[user].uid if user in reservations else _free_uid(reservations),
        migrations=definition.migrations,
        application=definition.application,
        virtual_hosts={hostname: VirtualHost(), **definition.virtual_hosts},
        users=definition.users,
        checks=definition.checks,
        source=source,
        hostenv_hostname=settings.hostenv_hostname,
        backups_repo_host=f"{settings.public_url}/backups",
    )


def _free_uid(reservations: Mapping[str, Reservation]) -> int:
    used = {reservation.uid for reservation in reservations.values()}
    for uid in range(FIRST_UID, LAST_UID + 1):
        if uid not in used:
            return uid
    raise HostenvError(f"no uid from {FIRST_UID} to {LAST_UID} is left: use a second provider")


def _checks(
    key: str, user: str, definition: EnvironmentDefinition, given: Collection[str]
) -> tuple[tuple[Check, ...], list[str]]:
    """The checks that can be made, and a warning for each that asks for a host that is not given."""
    checks, warnings = [], []
    for check in definition.checks:
        host = check.virtual_host
        if host is None or host in given:
            checks.append(check)
        elif host in definition.virtual_hosts:
            warnings.append(f"check {shown(check.name)} of {user} is not made: {host} is not served")
        else:
            raise InvalidData(
                f"{key}: check {shown(check.name)} of {user} asks for {host}, which is none of its"
                " virtual hosts: add it to virtualHosts"
            )
    return tuple(checks), warnings
