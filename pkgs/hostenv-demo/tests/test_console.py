import io
from pathlib import Path

import pytest
from hostenv_demo.console import Console, last_lines, wait_line
from hostenv_demo.watch import Progress, StepsWatch, progress_of
from hostenv_lab.log import Event


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_wait_of_known_length_has_a_bar() -> None:
    line = wait_line("anything", 12.4, Progress("node-b restore", 2, 5))
    assert line == " 12 s  [########............] 2 of 5 done, now: node-b restore"
    assert len(line) < 80


def test_a_wait_of_unknown_length_says_its_first_line() -> None:
    assert wait_line("one\ntwo", 3, None) == "  3 s  one"


def test_a_log_shows_its_last_line_and_cannot_move_the_cursor(tmp_path: Path) -> None:
    log = tmp_path / "node-a.log"
    log.write_bytes(b"old\r\nnew \x1b[2J\x07line\r\n\r\n")
    assert last_lines([log, tmp_path / "node-b.log"]) == ["node-a    new [2Jline"]


@pytest.mark.parametrize(
    ("color", "no_color", "terminal", "painted"),
    [
        (True, False, True, True),
        (False, False, True, False),
        (True, True, True, False),
        (True, False, False, False),
    ],
)
def test_colours_only_on_a_terminal_that_wants_them(
    color: bool, no_color: bool, terminal: bool, painted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal() if terminal else io.StringIO()
    Console(stream, color=color)(Event("stage", "Boot"))
    assert ("\x1b[" in stream.getvalue()) == painted


def test_progress_is_what_the_job_has_behind_it() -> None:
    rows = [
        {"node": "node-a", "op": "backup", "status": "success"},
        {"node": "node-b", "op": "restore", "status": "running"},
        {"node": "node-b", "op": "activate", "status": "queued"},
    ]
    assert progress_of({"state": "waiting", "actions": rows}) == Progress("node-b restore", 1, 3)
    assert progress_of({"state": "waiting", "actions": rows[2:]}) == Progress("waiting for the nodes", 0, 1)
    assert progress_of({"state": "succeeded", "actions": rows}) is None
    assert progress_of({"state": "running", "actions": []}) is None


def test_a_stage_of_known_length_has_a_bar_of_its_steps() -> None:
    steps = StepsWatch()
    name = "Project: a customer's site in a Git repository"

    steps(Event("stage", name))
    steps(Event("begin", "provider: must succeed: git init"))
    assert steps.progress() == Progress("provider: must succeed: git init", 0, 6)
    steps(Event("end", "provider: must succeed: git init", 0.1))
    assert steps.progress() == Progress("provider: must succeed: git init", 1, 6)
    for _ in range(9):
        steps(Event("end", "more than ever", 0.1))
    assert steps.progress() == Progress("provider: must succeed: git init", 6, 6)
    steps(Event("stage-end", name, 1.0))
    assert steps.progress() is None
    steps(Event("stage", "a stage of another script"))
    assert steps.progress() is None
