"""What an action and its entry of the plan say, checked. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from hostenv_core.intents import Action
from hostenv_core.names import is_snapshot

from hostenv_node.environment.entry import Entry, Environment, parse_environment
from hostenv_node.errors import OperationFailed


def environment_of(action: Action, entry: Entry) -> Environment:
    """The entry with the action's migrations. Raises OperationFailed unless it is of the action's user."""
    environment = parse_environment(entry)
    if environment.user != action.user:
        raise OperationFailed(f"the entry is of {environment.user}, the action of {action.user}")
    # The action may name a key that the entry it is carried out with does not have yet.
    keys = {*environment.migrations, *action.migrations}
    return replace(environment, migrations=tuple(sorted(keys)))


def chosen_snapshot(action: Action, snapshots: Mapping[str, str]) -> tuple[str, str]:
    """The snapshot to restore: the first key's, because each holds the whole frozen environment."""
    if not action.migrations:
        raise OperationFailed(f"the intent names no migration for {action.user}; plan again")
    checked = [(key, snapshot_id(key, snapshots.get(key))) for key in action.migrations]
    return checked[0]


def snapshot_id(key: str, value: object) -> str:
    """The id that a backup gave for a migration key. Raises OperationFailed for what cannot be one."""
    if not isinstance(value, str) or not is_snapshot(value):
        # Its user chooses the value, which may be endless.
        shown = repr(value[:80]) if isinstance(value, str) else "no text"
        raise OperationFailed(f"no snapshot id for {key}: {shown}; the backup has to run again")
    return value
