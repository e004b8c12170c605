"""Undoing works in a tenant's home, so a tenant decides whether it succeeds; it must not stop the others."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hostenv_core.errors import HostenvError
from hostenv_node.config import Config
from hostenv_node.errors import OperationFailed
from node_support import C1, C2, C3, USER, Node, Provider, RecordedOperations, action, switch

OTHER, SHOP = "shop-main-1234567", "shop-main-7654321"
ENVIRONMENTS = {USER: {"uid": 1002}, OTHER: {"uid": 1003}, SHOP: {"uid": 1004}}


@pytest.fixture
def node(
    provider: Provider,
    operations: RecordedOperations,
    configure: Callable[..., Config],
    generation: Callable[..., Path],
    _no_accounts: None,
) -> Node:
    """`node-b` with three environments."""
    config = configure("node-b", provider.url)
    switch(config, generation(C3, environments=ENVIRONMENTS))
    return Node(config, provider, operations)


def test_undoing_that_fails_is_tried_again_and_holds_up_its_own_environment_alone(
    node: Node, provider: Provider, operations: RecordedOperations
) -> None:
    provider.add_job("first", C1, {"node-b": [action("activate", to_node="node-b")]})
    second = provider.add_job("second", C2, {"node-b": [action("activate", to_node="node-b")]})
    third = provider.add_job("third", C3, {"node-b": [action("activate", OTHER, to_node="node-b")]})
    operations.failures["activate"] = OperationFailed("no")
    operations.failures["withdraw"] = OperationFailed("unit does not stop")
    provider.verify_when_activated(third, OTHER)
    with pytest.raises(HostenvError, match="first"):
        node.activate()
    assert operations.calls == [
        ("activate", "first", USER),
        ("withdraw", "first", USER),
        ("activate", "third", OTHER),
        ("thaw", "third", OTHER),
    ]
    provider.verify_when_activated(second)
    node.activate()
    assert operations.calls[4:] == [
        ("withdraw", "first", USER),
        ("activate", "second", USER),
        ("thaw", "second", USER),
    ]


@pytest.mark.parametrize(("op", "cleanup"), [("activate", "thaw"), ("reload", "keep")])
def test_what_cannot_be_done_after_the_check_is_shown_and_holds_up_its_own_environment_alone(
    node: Node, provider: Provider, operations: RecordedOperations, op: str, cleanup: str
) -> None:
    first = provider.add_job("first", C1, {"node-b": [action(op, to_node="node-b")]})
    second = provider.add_job("second", C2, {"node-b": [action("activate", OTHER, to_node="node-b")]})
    provider.verify_when_activated(first, op=op)
    operations.failures[cleanup] = OperationFailed("Unit is masked")
    provider.on_event[("waiting", "intent")] = lambda: provider.verify_when_activated(second, OTHER)
    with pytest.raises(HostenvError, match="first"):
        node.activate()
    assert [(name, job) for name, job, _ in operations.calls] == [
        (op, "first"),
        (cleanup, "first"),
        ("activate", "second"),
        ("thaw", "second"),
    ]
    (told,) = [body for body in provider.bodies if (body["status"], body["phase"]) == ("waiting", "intent")]
    assert f"{USER}: Unit is masked; it is tried again" in told["message"]
    node.activate()
    assert operations.calls[4:] == [(cleanup, "first", USER)]
    assert [body["message"] for body in provider.bodies[-2:]] == [None, None]
    assert node.told()[-2:] == ["waiting/intent", "success/intent"]


def test_what_stays_behind_is_said_with_the_end(
    node: Node, provider: Provider, operations: RecordedOperations
) -> None:
    job = provider.add_job("job", C1, {"node-b": [action("reload", to_node="node-b")]})
    provider.verify_when_activated(job, op="reload")
    operations.left[USER] = "cannot delete x: it is a mount point"
    node.activate()
    assert (node.told()[-1], provider.bodies[-1]["message"]) == ("success/intent", operations.left[USER])
    assert operations.left[USER] in node.log


def test_what_failed_for_one_environment_is_tried_again_while_another_waits(
    node: Node, provider: Provider, operations: RecordedOperations
) -> None:
    move_in = [action("restore", OTHER, "node-a", "node-b")]
    reload = action("reload", to_node="node-b")
    job = provider.add_job("job", C1, {"node-b": [reload, *move_in], "node-a": [action("backup", OTHER)]})
    provider.verify_when_activated(job, op="reload")
    operations.failures["keep"] = OperationFailed("unit does not stop")
    job.snapshots = {"data": "0123abcd"}
    provider.on_wait = [
        lambda: None,
        lambda: job.row("node-a", "backup", OTHER).update(status="success"),
    ]
    node.activate()
    assert operations.names() == ["reload", "keep", "keep", "restore"]


def test_a_message_that_no_encoder_takes_is_reported_all_the_same(
    node: Node, provider: Provider, operations: RecordedOperations
) -> None:
    provider.add_job("job", C1, {"node-b": [action("activate", to_node="node-b")]})
    operations.failures["activate"] = OperationFailed("no \udcff\nhostenv-node: forged")
    operations.failures["withdraw"] = OperationFailed("no \ud800")
    with pytest.raises(HostenvError, match="tries again"):
        node.activate()
    assert provider.bodies[-1]["message"] == "no ? hostenv-node: forged"
    assert all(line.isprintable() for line in node.log)


@pytest.mark.parametrize(
    ("operation", "first"),
    [
        ("freeze", action("deactivate", to_node="node-c")),
        ("withdraw", action("activate", to_node="node-b")),
        ("thaw", action("backup", to_node="node-c")),
    ],
)
def test_a_defect_stops_no_other_job(
    node: Node, provider: Provider, operations: RecordedOperations, operation: str, first: dict[str, Any]
) -> None:
    job = provider.add_job("first", C1, {"node-b": [first], "node-c": [action("activate")]})
    second = provider.add_job("second", C2, {"node-b": [action("activate", SHOP, to_node="node-b")]})
    provider.verify_when_activated(second, SHOP)
    provider.on_event[("success", first["op"])] = lambda: setattr(job, "state", "failed")
    operations.failures[operation] = RecursionError("too deep \udcff")
    with suppress(HostenvError):
        node.activate()
    assert "too deep" in str(provider.bodies[0]["message"]) + " ".join(node.log)
    assert ("activate", "second", SHOP) in operations.calls
    assert all(line.encode() for line in node.log)
