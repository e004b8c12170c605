"""Deploy intents: written by the provider, read by nodes, in an order that both know."""

from dataclasses import replace

import pytest
from hostenv_core.errors import InvalidData
from hostenv_core.intents import OPERATIONS, VERIFY, Action, intent_document, parse_intent, prerequisites

USER = "shop-main-1234567"
MOVE = Action("backup", USER, "a", "b", ("drupal-migrate",))


def test_the_document_is_that_of_the_contract() -> None:
    assert intent_document([MOVE]) == {
        "schemaVersion": 1,
        "actions": [
            {"op": "backup", "user": USER, "fromNode": "a", "toNode": "b", "migrations": ["drupal-migrate"]}
        ],
    }
    accepted = replace(MOVE, accept_loss=True)
    assert accepted.to_json() == {**MOVE.to_json(), "acceptLoss": True}
    assert replace(MOVE, physical=True).to_json() == {**MOVE.to_json(), "physical": True}


def test_what_is_written_is_read() -> None:
    actions = (
        MOVE,
        replace(MOVE, accept_loss=True),
        replace(MOVE, physical=True),
        *(Action(op, USER, None, "b") for op in OPERATIONS),
        Action("deactivate", USER, "a", None),
    )
    assert parse_intent(intent_document(actions)) == actions


def test_what_a_later_provider_adds_is_no_error() -> None:
    assert parse_intent(
        {"schemaVersion": 1, "actions": [MOVE.to_json() | {"urgent": True}], "by": "ann"}
    ) == (MOVE,)


@pytest.mark.parametrize(
    ("intent", "place"),
    [
        ([], "object"),
        ({"schemaVersion": 2, "actions": []}, "schemaVersion: must be 1"),
        ({"actions": []}, "schemaVersion: is missing"),
        ({"schemaVersion": 1}, "actions: is missing"),
        ({"schemaVersion": 1, "actions": ["activate"]}, r"actions\[0\]: must be an object"),
        *(
            ({"schemaVersion": 1, "actions": [MOVE.to_json() | change]}, rf"actions\[0\]\.{place}")
            for change, place in [
                ({"op": "destroy"}, "op"),
                ({"op": VERIFY}, "op"),
                ({"user": ""}, "user"),
                ({"user": "root"}, "user"),
                ({"migrations": "data"}, "migrations"),
                ({"migrations": ["../data"]}, r"migrations\[0\]"),
                ({"toNode": 3}, "toNode"),
                ({"acceptLoss": "yes"}, "acceptLoss"),
            ]
        ),
    ],
)
def test_a_malformed_intent_is_refused(intent: object, place: str) -> None:
    with pytest.raises(InvalidData, match=f"{place}.*: update hostenv-node$"):
        parse_intent(intent)


@pytest.mark.parametrize(
    ("op", "from_node", "to_node", "node", "wanted"),
    [
        ("backup", "a", "b", "a", ()),
        ("restore", "a", "b", "b", (("a", "backup"),)),
        ("sync", "a", "b", "a", (("b", "restore"),)),
        ("sync", "a", "b", "b", (("b", "restore"),)),
        ("handover", "a", "b", "a", (("a", "sync"), ("b", "sync"))),
        ("activate", "a", "b", "b", (("b", "restore"), ("b", "sync"), ("a", "handover"))),
        ("activate", None, "b", "b", (("b", "restore"), ("b", "sync"))),
        ("reload", "b", "b", "b", ()),
        (VERIFY, "a", "b", "provider", (("b", "activate"), ("b", "reload"))),
        ("deactivate", "a", "b", "a", (("provider", VERIFY),)),
        ("deactivate", None, "b", "c", (("provider", VERIFY),)),
        ("deactivate", "a", None, "a", ()),
        ("deactivate", "a", "a", "a", ()),
    ],
)
def test_the_order_of_a_move(
    op: str, from_node: str | None, to_node: str | None, node: str, wanted: tuple[tuple[str, str], ...]
) -> None:
    assert prerequisites(Action(op, USER, from_node, to_node), node) == wanted
