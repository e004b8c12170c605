from dataclasses import replace

import pytest
import runs
from hostenv_demo.evidence import Checksums, Notes, lost_notes
from hostenv_demo.summary import Same, per_bucket, summarise


def test_a_run_that_passed() -> None:
    found = summarise(runs.PASSED)
    assert found.passed
    assert found.headline == "The site moved from node-a to node-b"
    assert found.move == runs.MOVE
    assert found.commit_point == runs.BEGIN + 36.5
    assert found.refused == (runs.BEGIN + 23, runs.BEGIN + 35)
    assert (found.reads, found.unread) == (3, 1)
    assert (found.tables, found.files) == (Same(2, 2), Same(1, 1))


def test_a_lost_note_fails_a_run_whose_script_passed() -> None:
    found = summarise(replace(runs.PASSED, notes=Notes(2, ("visitor 2",))))
    assert not found.passed
    assert found.headline == "Notes were lost"


def test_accepted_notes_that_nobody_could_look_for_fail_a_run() -> None:
    found = summarise(replace(runs.PASSED, notes=None))
    assert not found.passed
    assert found.headline == "Notes could not be compared"
    read_only = tuple(each for each in runs.REQUESTS if each.outcome != "ok" or each.kind == "read")
    assert summarise(replace(runs.PASSED, notes=None, requests=read_only)).passed


def test_a_failure_names_the_action_its_node_and_its_message() -> None:
    found = summarise(runs.FAILED)
    assert not found.passed
    assert found.headline == "The site did not move"
    assert found.explanation.startswith("restore on node-b failed: no snapshot")
    assert found.commit_point is None


def test_a_run_that_hardly_began() -> None:
    found = summarise(runs.NOTHING)
    assert not found.passed
    assert found.explanation == "It did not reach its first stage."
    assert found.move is found.refused is found.tables is None


@pytest.mark.parametrize(
    ("after", "same"),
    [
        ({"db.articles": "123", "db.marker": "other"}, Same(1, 2)),
        ({"db.articles": "123"}, Same(1, 2)),
        ({"db.articles": "123", "db.marker": "456", "db.new": "1"}, Same(2, 3)),
    ],
)
def test_a_table_that_changed_vanished_or_appeared_is_not_the_same(after: dict[str, str], same: Same) -> None:
    changed = replace(runs.PASSED, after=Checksums(after, runs.CHECKSUMS.files))
    assert summarise(changed).tables == same


def test_only_accepted_notes_can_be_lost() -> None:
    accepted = [each for each in runs.REQUESTS if each.kind == "write"]
    assert lost_notes(accepted, frozenset()) == Notes(2, ("visitor 1", "visitor 1"))
    assert lost_notes(accepted, frozenset({"visitor 1"})) == Notes(2, ())


def test_requests_outside_the_picture_are_in_no_bucket() -> None:
    buckets = per_bucket(runs.REQUESTS, runs.BEGIN + 19, 2.0, 3)
    assert [len(bucket) for bucket in buckets] == [2, 0, 1]
