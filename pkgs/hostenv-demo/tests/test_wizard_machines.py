"""The wizard on container machines, key by key: through all stages, aborted, interrupted."""

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from hostenv_demo import evidence
from hostenv_demo.stages import STAGES
from hostenv_demo.summary import summarise
from hostenv_lab import record
from pty_session import PROMPT, REPOSITORY, Terminal, wizard
from secrecy import assert_no_secret
from traces import traces

pytestmark = pytest.mark.machine
_COMMAND = re.compile(r"^     (\S.*)$", re.MULTILINE)
_ABORTED = 130


def arguments(folder: Path) -> list[str]:
    return ["--machines", "container", "--workdir", str(folder / "work")]


def assert_clean(folder: Path, run_id: str) -> None:
    """Nothing of an aborted run is left."""
    assert traces(run_id) == []
    assert list(folder.iterdir()) == []


def try_commands(page: str, folder: Path) -> None:
    """Every command that a pause shows works as it stands."""
    commands = _COMMAND.findall(page)
    assert commands
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def steps_of(folder: Path) -> dict[str, int]:
    """How many steps each stage of a run had, of those that have a bar."""
    events = [json.loads(line) for line in (folder / evidence.EVENTS).read_text().splitlines()]
    found: Counter[str] = Counter()
    stage = ""
    for event in events:
        if event["kind"] == "stage":
            stage = event["text"]
        elif event["kind"] == "end" and stage and STAGES[stage].steps is not None:
            found[stage] += 1
        elif event["kind"] == "stage-end":
            stage = ""
    return dict(found)


def test_every_stage_is_explained_and_its_commands_work(tmp_path: Path) -> None:
    with wizard(tmp_path, arguments(tmp_path)) as terminal:
        for number, name in enumerate(STAGES, 1):
            page = terminal.until(PROMPT)
            shown = page[page.index(f"-- {number} of {len(STAGES)}: ") :]
            assert name in " ".join(shown.split())
            assert "The site in a browser: http://127.0.0.1:" in shown
            prose = [line for line in shown.splitlines() if not _COMMAND.match(line)]
            assert all(len(line) <= 80 for line in prose), shown
            try_commands(shown, tmp_path)
            if number == 2:
                terminal.press("x")
                assert "<Enter> goes on." in terminal.until(PROMPT)
            terminal.press("\n")
        page = terminal.until(PROMPT)
        try_commands(page[page.index("-- Done") :], tmp_path)
        terminal.press("\n")
        assert terminal.exit_status() == 0
    work = tmp_path / "work"
    found = summarise(evidence.load(work / "evidence"))
    assert found.passed
    assert found.reads > found.unread == 0
    assert found.refused
    assert "preparing the image" in (work / "evidence" / evidence.EVENTS).read_text()
    assert steps_of(work / "evidence") == {name: each.steps for name, each in STAGES.items() if each.steps}
    assert "The site moved" in (work / "evidence" / "report.html").read_text()
    assert (work / "logs" / "provider-service.log").stat().st_size
    assert_no_secret(work)
    run_id = record.read(work).run_id
    subprocess.run([REPOSITORY / "teardown.sh", "--workdir", work], cwd=tmp_path, check=True, timeout=120)
    assert_clean(tmp_path, run_id)


def go_to_pause(terminal: Terminal, number: int) -> str:
    """Press Enter up to a pause, counted from 1; returns the run's id."""
    for _ in range(number - 1):
        terminal.until(PROMPT)
        terminal.press("\n")
    terminal.until(PROMPT)
    return record.read(terminal.folder / "work").run_id


def some(count: int) -> list[object]:
    """The first two are always tried; all the others where there is time."""
    return [
        number if number <= 2 else pytest.param(number, marks=pytest.mark.long)
        for number in range(1, count + 1)
    ]


@pytest.mark.parametrize("pause", some(len(STAGES) + 1))
def test_a_aborts_at_a_pause_and_leaves_nothing(tmp_path: Path, pause: int) -> None:
    with wizard(tmp_path, arguments(tmp_path)) as terminal:
        run_id = go_to_pause(terminal, pause)
        terminal.press("a")
        assert terminal.exit_status() == _ABORTED, terminal.raw
    assert "aborted" in terminal.raw
    assert_clean(tmp_path, run_id)


@pytest.mark.parametrize("stage", some(len(STAGES)))
def test_ctrl_c_in_a_stage_leaves_nothing(tmp_path: Path, stage: int) -> None:
    with wizard(tmp_path, arguments(tmp_path)) as terminal:
        run_id = go_to_pause(terminal, stage)
        terminal.press("\n")
        terminal.until(f"== {list(STAGES)[stage - 1]}")
        terminal.interrupt()
        assert terminal.exit_status() == _ABORTED, terminal.raw
    assert_clean(tmp_path, run_id)


def test_ctrl_c_at_a_pause_leaves_nothing(tmp_path: Path) -> None:
    with wizard(tmp_path, arguments(tmp_path)) as terminal:
        run_id = go_to_pause(terminal, 2)
        terminal.interrupt()
        assert terminal.exit_status() == _ABORTED, terminal.raw
    assert_clean(tmp_path, run_id)


def test_without_a_terminal_it_says_so_and_starts_nothing(tmp_path: Path) -> None:
    for stdin in ("</dev/null", "<&-"):
        command = f"{REPOSITORY}/run-demo.sh --workdir {tmp_path}/work {stdin}"
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1
        assert done.stderr.startswith("run-demo: the wizard asks before each stage")
        assert len(done.stderr.splitlines()) == 1
        assert list(tmp_path.iterdir()) == []
