"""Deploy intents: what one node must do for one job (contract 7)."""

from collections.abc import Mapping
from dataclasses import dataclass

from hostenv_core.errors import HostenvError
from hostenv_core.names import is_key, is_user_name

OPS = ("backup", "restore", "activate", "reload", "deactivate")


@dataclass(frozen=True)
class Action:
    """One step of an intent: `op` on the environment `user`.

    With `accept_loss` a backup may leave behind what it cannot hold. A `physical` one copies the database's
    files, which the same series of MariaDB takes on both nodes.
    """

    op: str
    user: str
    from_node: str | None
    to_node: str | None
    migrations: tuple[str, ...]
    accept_loss: bool = False
    physical: bool = False

    @classmethod
    def from_json(cls, value: object) -> "Action":
        """Raises HostenvError when `value` is no action."""
        if not isinstance(value, dict):
            raise HostenvError(f"an intent's action must be an object, not {value!r}")
        op, user = value.get("op"), value.get("user")
        from_node, to_node = value.get("fromNode"), value.get("toNode")
        migrations = value.get("migrations") or []
        if op not in OPS:
            raise HostenvError(f"unknown op {op!r} in an intent; update hostenv-node")
        if not is_user_name(user):
            raise HostenvError(f"an action without an environment's user in an intent: {str(value)[:200]}")
        if not all(node is None or isinstance(node, str) for node in (from_node, to_node)):
            raise HostenvError(f"fromNode and toNode must be names or null in an intent: {value!r}")
        if not isinstance(migrations, list) or not all(
            isinstance(key, str) and is_key(key) for key in migrations
        ):
            raise HostenvError(f"migrations must be a list of keys in an intent: {value!r}")
        return cls(
            op,
            user,
            from_node,
            to_node,
            tuple(migrations),
            accept_loss=value.get("acceptLoss") is True,
            physical=value.get("physical") is True,
        )

    def to_json(self) -> dict[str, object]:
        """The form in which the provider sends it."""
        return {
            "op": self.op,
            "user": self.user,
            "fromNode": self.from_node,
            "toNode": self.to_node,
            "migrations": list(self.migrations),
            **({"acceptLoss": True} if self.accept_loss else {}),
            **({"physical": True} if self.physical else {}),
        }


def parse_intent(intent: Mapping[str, object]) -> tuple[Action, ...]:
    """The actions of an intent, in order.

    Raises HostenvError for another schema version or a malformed action.
    """
    if intent.get("schemaVersion") != 1:
        raise HostenvError(
            f"intent has schemaVersion {intent.get('schemaVersion')!r}, not 1; update hostenv-node"
        )
    actions = intent.get("actions")
    if not isinstance(actions, list):
        raise HostenvError("intent has no list of actions")
    return tuple(Action.from_json(action) for action in actions)
