"""Deploy intents: what one node must do for one job, and in which order all nodes do it (contract 7)."""

from collections.abc import Iterable
from dataclasses import dataclass

from hostenv_core.json_value import Value
from hostenv_core.names import PROVIDER_NODE, is_key, is_user_name

SCHEMA_VERSION = 1
OPERATIONS = ("backup", "restore", "sync", "handover", "activate", "reload", "deactivate")
"""What nodes do, in a node's order for one environment."""
VERIFY = "verify"
"""What the provider does itself: it checks an environment on its target."""


@dataclass(frozen=True)
class Action:
    """One thing that one node, or with `op` = verify the provider, does to the environment of `user`.

    `from_node` is where the environment is deployed, or where its data come from; None when a stale copy,
    which is neither, is deactivated. With `accept_loss` a backup may leave behind what it cannot hold. A
    `physical` one copies the database's files, which only the same series of MariaDB takes; it is `live` when
    the site is served meanwhile, and what changes is sent after it.
    """

    op: str
    user: str
    from_node: str | None
    to_node: str | None
    migrations: tuple[str, ...] = ()
    accept_loss: bool = False
    physical: bool = False
    live: bool = False

    def to_json(self) -> dict[str, object]:
        """The form of an intent's action (contract 7)."""
        return {
            "op": self.op,
            "user": self.user,
            "fromNode": self.from_node,
            "toNode": self.to_node,
            "migrations": list(self.migrations),
            # Only where it is true, so that all other documents stay as earlier versions wrote them.
            **({"acceptLoss": True} if self.accept_loss else {}),
            **({"physical": True} if self.physical else {}),
            **({"live": True} if self.live else {}),
        }

    @classmethod
    def from_json(cls, value: Value) -> "Action":
        """A node's action as `to_json` makes it, perhaps with more. Raises InvalidData."""
        from_node, to_node = value.optional("fromNode"), value.optional("toNode")
        migrations = value.member("migrations", []).items()
        return cls(
            op=value.member("op").choice(OPERATIONS),
            user=value.member("user").named(is_user_name, "an environment's user"),
            from_node=None if from_node is None else from_node.string(),
            to_node=None if to_node is None else to_node.string(),
            migrations=tuple(each.named(is_key, "a migration's key") for each in migrations),
            accept_loss=value.flag("acceptLoss"),
            physical=value.flag("physical"),
            live=value.flag("live"),
        )


def intent_document(actions: Iterable[Action]) -> dict[str, object]:
    """The intent of one node, as the API hands it out and the database keeps it."""
    return {"schemaVersion": SCHEMA_VERSION, "actions": [action.to_json() for action in actions]}


def parse_intent(document: object) -> tuple[Action, ...]:
    """A node's actions, in order. Raises InvalidData, also for another schema version."""
    intent = Value(document, "a deploy intent", most=None, remedy="update hostenv-node")
    version = intent.member("schemaVersion")
    if version.raw != SCHEMA_VERSION:
        raise version.error(f"must be {SCHEMA_VERSION}")
    return tuple(Action.from_json(each) for each in intent.member("actions").items())


def prerequisites(action: Action, node: str) -> tuple[tuple[str, str], ...]:
    """What must have succeeded before `node` may do `action`: nodes and their operations (contract 7, order).

    A.`backup` → B.`restore` → A.`sync` and B.`sync`, side by side → A.`handover` → B.`activate` → `verify` →
    A.`deactivate`, all of one environment. For what its job does not contain an action does not wait.
    """
    source, target = action.from_node, action.to_node
    if action.op == "restore" and source is not None:
        return ((source, "backup"),)
    if action.op == "sync" and target is not None:
        return ((target, "restore"),)
    if action.op == "handover" and target is not None:
        return ((node, "sync"), (target, "sync"))
    if action.op == "activate":
        before = ((node, "restore"), (node, "sync"))
        return before if source in (None, node) else (*before, (source, "handover"))
    if action.op == VERIFY and action.to_node is not None:
        return ((action.to_node, "activate"), (action.to_node, "reload"))
    if action.op == "deactivate" and action.to_node not in (None, node):
        return ((PROVIDER_NODE, VERIFY),)
    return ()
