import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hostenv_demo.console import Console, cut, last_lines, wait_line
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
    ("color", "no_color", "terminal", "kind", "painted"),
    [
        (True, False, True, "xterm", True),
        (False, False, True, "xterm", False),
        (True, True, True, "xterm", False),
        (True, False, False, "xterm", False),
        (True, False, True, "dumb", False),
    ],
)
def test_colours_only_on_a_terminal_that_wants_them(
    color: bool, no_color: bool, terminal: bool, kind: str, painted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", kind)
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


def test_lines_are_cut_where_a_terminal_is_full() -> None:
    assert cut("abcdef", 4) == "abcd"
    assert cut("\u30db\u30b9\u30c8", 4) == "\u30db\u30b9"
    assert cut("\u30db\u30b9\u30c8", 5) == "\u30db\u30b9"
    assert cut("e\u0301tude", 5) == "e\u0301tude"


def test_what_the_terminal_cannot_show_is_no_error() -> None:
    written = io.BytesIO()
    Console(io.TextIOWrapper(written, encoding="ascii")).info("caf\u00e9 \u2192")
    assert written.getvalue() == b"caf? ?\n"


def test_an_output_that_nobody_reads_ends_the_run() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with os.fdopen(writer, "w") as stream:
            console = Console(stream)
            with pytest.raises(KeyboardInterrupt):
                console.info("one")
            # and once only
            console.info("two")
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_closed_output_is_one_line() -> None:
    command = [sys.executable, "-m", "hostenv_demo", "--teardown"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("run-demo: standard output is closed")
    assert done.stderr.count("\n") == 1
