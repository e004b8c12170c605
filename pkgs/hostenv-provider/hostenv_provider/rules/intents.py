"""Deploy intents: what each node must do for one job, derived from what is deployed (contract 7)."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from hostenv_core.errors import HostenvError
from hostenv_core.intents import OPERATIONS, VERIFY, Action

from hostenv_provider.plan.plan import Environment


@dataclass(frozen=True)
class Deployed:
    """Where an environment was last deployed, and as what: `Environment.comparable()` of that moment.

    It is `uncertain` when its removal or replacement was begun and has not succeeded. `previous_source` is
    the `repo` that it had before, if any.
    """

    user: str
    node: str
    environment: Mapping[str, object]
    previous_source: Mapping[str, object] | None = None
    uncertain: bool = False


def derive_actions(
    deployed: Mapping[str, Deployed],
    planned: Mapping[str, Environment],
    stale: Mapping[str, AbstractSet[str]],
    migration_sources: Mapping[str, str],
    skip_migrations: AbstractSet[str],
    accept_loss: AbstractSet[str] = frozenset(),
    databases: Mapping[str, str] | None = None,
) -> dict[str, list[Action]]:
    """Every node's actions, in the order in which the node performs them; a node without any is absent.

    `deployed`, `planned` and `stale` hold the environments of one project by user name. `stale` names the
    nodes that hold an old copy of an environment: each is told again to deactivate it. `migration_sources`
    overrides a previous placement; a copy deployed on a third node is then deactivated like a stale one.
    `databases` holds the series of MariaDB of the nodes that reported it.
    Raises HostenvError if that would replace the data of the copy that is deployed: a job that failed then
    would leave neither the old data in place nor the site up.
    """
    actions: dict[str, list[Action]] = {}
    for user in sorted({*deployed, *planned, *stale}):
        for node, action in _user_actions(
            user,
            deployed.get(user),
            planned.get(user),
            stale.get(user, frozenset()),
            migration_sources.get(user),
            skip_migrations=user in skip_migrations,
            accept_loss=user in accept_loss,
            databases=databases or {},
        ):
            actions.setdefault(node, []).append(action)
    return {
        node: sorted(actions[node], key=lambda action: (action.user, OPERATIONS.index(action.op)))
        for node in sorted(actions)
    }


def verify_actions(actions_by_node: Mapping[str, Sequence[Action]]) -> list[Action]:
    """The service's own actions: a check of each environment that is activated or reloaded, by user name."""
    return sorted(
        (
            Action(VERIFY, action.user, action.from_node, action.to_node)
            for actions in actions_by_node.values()
            for action in actions
            if action.op in ("activate", "reload")
        ),
        key=lambda action: action.user,
    )


def _user_actions(
    user: str,
    deployed: Deployed | None,
    planned: Environment | None,
    stale: AbstractSet[str],
    migration_source: str | None,
    *,
    skip_migrations: bool,
    accept_loss: bool,
    databases: Mapping[str, str],
) -> list[tuple[str, Action]]:
    last = deployed.node if deployed else None
    target = planned.node if planned is not None and planned.enable else None
    migrations = () if planned is None or skip_migrations else planned.migrations
    source = migration_source or last
    if last == target and not migrations:
        # Nothing is brought here from elsewhere, so what runs here is not begun anew.
        source = last
    leftovers = {*stale, *(node for node in (last, migration_source) if node is not None)}
    result = [
        (node, Action("deactivate", user, node if node == last else None, target))
        for node in sorted(leftovers)
        if node not in (source, target)
    ]
    if planned is None or target is None:
        if source is not None:
            result.append((source, Action("deactivate", user, source, None)))
    elif source is None:
        result.append((target, Action("activate", user, None, target)))
    elif source == target:
        if deployed is None or last != target or deployed.uncertain:
            # A copy that is not deployed, or whose removal was begun: nobody knows what of it runs.
            result.append((target, Action("activate", user, target, target)))
        elif deployed.environment != planned.comparable():
            result.append((target, Action("reload", user, target, target)))
    else:
        if last == target:
            raise HostenvError(
                f"{user} is deployed on {target}, where the copy of {source} would replace its data; to go"
                f" back to that copy, place it there: --to {source} --migration-source {user}={source}"
            )
        live = False
        if migrations:
            physical = source in databases and databases[source] == databases.get(target)
            # A copy that is not deployed, or whose removal was begun, may not run, and a round needs its
            # database.
            live = physical and source == last and deployed is not None and not deployed.uncertain
            backup = Action("backup", user, source, target, migrations, accept_loss, physical, live)
            result.append((source, backup))
            result.append((target, Action("restore", user, source, target, migrations, live=live)))
            if live:
                result += [(node, Action("sync", user, source, target)) for node in (source, target)]
                result.append((source, Action("handover", user, source, target)))
        result.append((source, Action("deactivate", user, source, target)))
        result.append((target, Action("activate", user, source, target, live=live)))
    return result
