"""Rounds of a live move; the provider and what users do are played, the other node too."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment import steps
from hostenv_node.environment.layout import Layout
from hostenv_node.environment.steps import Step
from hostenv_node.errors import OperationFailed
from hostenv_node.jobs.job_status import JobSnapshot, Row
from hostenv_node.jobs.operations import Context
from hostenv_node.runtime import live_move as module
from hostenv_node.runtime.live_move import LiveMove

JOB = "job-1"


class Between:
    """The provider, which keeps parts, and what happens when one is asked for."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.parts: dict[str, bytes] = {}
        self.state = "waiting"
        self.sync = "running"
        self.on_fetch: Callable[[str], None] = lambda _name: None

    def job(self, job_id: str) -> JobSnapshot:
        return JobSnapshot(job_id, self.state, (Row("node-a", "sync", self.user, self.sync),))

    def send_part(self, _job: str, _user: str, name: str, file: Path) -> None:
        self.parts[name] = file.read_bytes()

    def fetch_part(self, _job: str, _user: str, name: str, file: Path, _wait: int) -> bool:
        self.on_fetch(name)
        if name not in self.parts:
            return False
        file.write_bytes(self.parts[name])
        return True


class Home:
    """What the user's side has made and taken in."""

    def __init__(self) -> None:
        self.size = 1
        self.last = 0
        self.taken = [0, False]
        self.asked: list[Step] = []

    def apply(
        self, _config: Config, _layout: Layout, _deadline: Deadline, wanted: Sequence[Step]
    ) -> Mapping[type[Step], object]:
        self.asked += wanted
        for step in wanted:
            match step:
                case steps.MakeDelta(number):
                    self.last = number
                case steps.TakeInDelta(number):
                    self.taken = [number, False]
        return {steps.LastDelta: self.last, steps.MakeRest: self.last + 1, steps.TakenIn: list(self.taken)}


@pytest.fixture
def between(layout: Layout) -> Between:
    return Between(layout.user)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Home:
    made = Home()
    monkeypatch.setattr(module, "user_apply", made.apply)
    monkeypatch.setattr(module, "pipe_from_user", lambda *given: given[4].write_bytes(b"x" * made.size))
    monkeypatch.setattr(module, "pipe_to_user", lambda *_: None)
    return made


@pytest.fixture
def move(config: Config, between: Between) -> LiveMove:
    return LiveMove(config, between)


def context() -> Context:
    return Context(JOB, Deadline.after(60))


def test_rounds_end_with_a_small_one_and_the_first_compares(
    move: LiveMove, between: Between, home: Home, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def applied(name: str) -> None:
        home.size = 1 if name == "applied-2" else home.size
        between.parts[name] = b"done"

    home.size = 2 << 20
    monkeypatch.setattr(module, "_SHORT_SECONDS", -1)
    between.on_fetch = applied
    move.send_rounds(context(), layout)
    made = [step for step in home.asked if isinstance(step, steps.MakeDelta)]
    assert [(step.number, step.compare) for step in made] == [(1, True), (2, False), (3, False)]


def test_a_site_that_writes_too_fast_stays_where_it_is(
    move: LiveMove, between: Between, home: Home, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.size = 2 << 20
    monkeypatch.setattr(module, "_SHORT_SECONDS", -1)
    between.on_fetch = lambda name: between.parts.update({name: b"done"})
    with pytest.raises(OperationFailed, match="writes faster than its target takes it in: 30 rounds"):
        move.send_rounds(context(), layout)


def test_a_source_goes_on_with_the_round_that_was_interrupted(
    move: LiveMove, between: Between, home: Home, layout: Layout
) -> None:
    home.last = 4
    between.parts["applied-4"] = b"done"
    move.send_rounds(context(), layout)
    assert [step.number for step in home.asked if isinstance(step, steps.MakeDelta)] == [4]
    assert "delta-4" in between.parts


def test_nobody_waits_for_a_target_whose_job_has_ended(
    move: LiveMove, between: Between, layout: Layout
) -> None:
    between.state = "failed"
    with pytest.raises(OperationFailed, match="the job is failed"):
        move.send_rounds(context(), layout)


def test_a_target_takes_in_all_rounds_and_then_ends(
    move: LiveMove, between: Between, home: Home, layout: Layout
) -> None:
    between.parts = {"delta-1": b"", "delta-2": b""}

    def ends(name: str) -> None:
        if name == "delta-3":
            between.sync = "success"

    between.on_fetch = ends
    move.take_rounds(context(), layout, [], "node-a")
    assert [step.number for step in home.asked if isinstance(step, steps.TakeInDelta)] == [1, 2]
    assert {"applied-1", "applied-2"} <= between.parts.keys()


def test_a_target_says_again_what_it_has_taken_in(
    move: LiveMove, between: Between, home: Home, layout: Layout
) -> None:
    home.taken = [2, False]
    between.sync = "success"
    move.take_rounds(context(), layout, [], "node-a")
    assert between.parts == {"applied-2": b"done\n"}
    assert not any(isinstance(step, steps.TakeInDelta) for step in home.asked)


def test_the_rest_is_sent_of_what_stands_still(
    move: LiveMove, between: Between, home: Home, layout: Layout
) -> None:
    home.last = 2
    move.send_rest(context(), layout)
    assert home.asked == [steps.Freeze(), steps.MakeRest()]
    assert between.parts.keys() == {"rest-3"}


def test_the_rest_is_taken_in_once(move: LiveMove, between: Between, home: Home, layout: Layout) -> None:
    home.taken = [2, False]
    between.parts = {"rest-3": b""}
    assert move.fetch_rest(context(), layout, steps.LoadUnits()) == [steps.TakeInDelta(3)]
    home.taken = [3, True]
    assert move.fetch_rest(context(), layout, steps.LoadUnits()) == []


def test_what_the_users_side_makes_up_is_refused(
    move: LiveMove, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "user_apply", lambda *_: {steps.LastDelta: "1", steps.TakenIn: ["1", 7]})
    with pytest.raises(OperationFailed, match="does not say"):
        move.send_rounds(context(), layout)
    with pytest.raises(OperationFailed, match="does not say"):
        move.take_rounds(context(), layout, [], "node-a")
    with pytest.raises(OperationFailed, match="does not say"):
        move.send_rest(context(), layout)
