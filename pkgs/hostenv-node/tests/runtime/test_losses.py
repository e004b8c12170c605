"""What people are told of a move that loses something; the user's side may say anything."""

import pytest
from hostenv_node.errors import OperationFailed
from hostenv_node.runtime.losses import judge

USER = "drupal-main-2855093"


@pytest.mark.parametrize("accepted", [False, True])
def test_a_move_without_loss_has_nothing_to_say(accepted: bool) -> None:
    found: dict[str, object] = {"floats": [], "databases": [], "accounts": [], "histories": [], "memory": []}
    assert judge(USER, found, physical=False, accepted=accepted) is None


def test_a_column_that_is_rounded_is_a_warning() -> None:
    warning = judge(
        USER, {"floats": [f"prices.p{number}" for number in range(13)]}, physical=False, accepted=False
    )
    assert warning is not None
    assert "prices.p0, prices.p1, " in warning
    assert "p9 and 3 more" in warning


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("databases", "the databases shop"),
        ("accounts", "the database accounts shop"),
        ("histories", "the history of the tables shop"),
    ],
)
def test_what_would_stay_behind_is_refused_unless_it_is_accepted(kind: str, words: str) -> None:
    found: dict[str, object] = {kind: ["shop"], "floats": ["a.b"]}
    with pytest.raises(OperationFailed, match=f"leaves behind {words}: .*migrate --accept-loss"):
        judge(USER, found, physical=False, accepted=False)
    warning = judge(USER, found, physical=False, accepted=True)
    assert warning is not None
    assert words in warning
    assert "a.b" in warning


def test_a_copy_of_the_files_keeps_all_but_what_is_in_memory_only() -> None:
    found: dict[str, object] = {"databases": ["shop"], "floats": ["a.b"], "histories": ["h"], "memory": []}
    assert judge(USER, found, physical=True, accepted=False) is None
    for physical in (True, False):
        warning = judge(USER, {"memory": ["drupal.m"]}, physical=physical, accepted=False)
        assert warning == "a move empties MEMORY tables, as each restart does, here drupal.m"


@pytest.mark.parametrize("found", [None, [], "databases", 7])
def test_no_answer_is_not_taken_for_no_loss(found: object) -> None:
    with pytest.raises(OperationFailed, match=f"{USER} does not say"):
        judge(USER, found, physical=False, accepted=True)


def test_whatever_the_answer_the_words_are_short_and_printable() -> None:
    found: dict[str, object] = {
        "databases": ["x" * 100_000, "a\nb\x1b[2J", 7, None] * 1000,
        "accounts": {"a": "b"},
        "floats": "f",
    }
    warning = judge(USER, found, physical=False, accepted=True)
    assert warning is not None
    assert len(warning) < 2000
    assert warning.isprintable()
