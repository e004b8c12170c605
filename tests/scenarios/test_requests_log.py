"""How the scenarios judge a visitor's log, and the table of their figures."""

import json

import pytest
from hostenv_scenarios.figures import Figure, from_log, table
from hostenv_scenarios.requests_log import Notes, Request, compare, longest_gap, parse
from hostenv_scenarios.site import DRUPAL, SECOND


def write(at: float, note: str, status: int | None) -> Request:
    return Request(at, "node-a", note, status)


def test_a_log_is_read_in_the_order_in_which_requests_ended() -> None:
    lines = [
        json.dumps({"at": at, "node": "node-a", "note": note, "status": 200})
        for at, note in ((2.0, None), (1.0, "n"))
    ]
    assert parse("\n".join(lines)) == [write(1.0, "n", 200), Request(2.0, "node-a", None, 200)]


def test_a_gap_counts_from_and_to_the_ends_of_the_log() -> None:
    requests = [write(0, "a", 503), write(4, "b", 201), write(5, "c", 201), write(8, "d", None)]
    assert longest_gap(requests, writes=True) == 4
    assert longest_gap(requests, writes=False) == 8
    assert longest_gap([*requests, Request(9, "node-b", None, 200)], writes=False) == 9


@pytest.mark.parametrize(
    ("found", "lost", "doubled", "refused"),
    [
        ({"yes": 1, "who knows": 1}, (), (), ()),
        ({"yes": 1}, (), (), ()),
        ({}, ("yes",), (), ()),
        ({"yes": 2}, (), ("yes",), ()),
        ({"yes": 1, "no": 1}, (), (), ("no",)),
    ],
)
def test_accepted_notes_are_there_once_and_refused_ones_never(
    found: dict[str, int], lost: tuple[str, ...], doubled: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    requests = [write(0, "yes", 201), write(1, "no", 503), write(2, "who knows", None), write(3, "x", 502)]
    difference = compare(Notes().with_requests(requests), found)
    assert (difference.lost, difference.doubled, difference.refused_but_there) == (lost, doubled, refused)
    assert difference.nothing == (not (lost or doubled or refused))


def test_what_was_accepted_in_an_earlier_trial_must_still_be_there() -> None:
    notes = Notes().with_requests([write(0, "old", 201)]).with_requests([write(1, "new", 201)])
    assert compare(notes, {"new": 1}).lost == ("old",)


def test_figures_pass_through_a_log_into_a_table() -> None:
    figure = Figure("a | fault", "succeeded", 40, 0, 0.2, 3.25, 12.0)
    log = ["   12.00 " + figure.line(), "must succeed: figure: not this one"]
    assert from_log(log) == [figure]
    *_, row = table([figure]).splitlines()
    assert row == r"| a \| fault | succeeded | 40 | 0 | 0.2 | 3.2 | 12.0 |"


def test_the_sites_are_named_as_the_contract_says() -> None:
    assert (DRUPAL.user, DRUPAL.host) == ("drupal-main-2855093", "drupal-main-2855093.demo.hostenv.test")
    assert SECOND.user.startswith("second-main-")
    assert SECOND.hash[:7] in SECOND.user
