"""However a run ends, nothing of it is left: done, failed, interrupted, killed; alone and beside another."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostenv_lab import record
from traces import traces

REPOSITORY = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "hostenv_lab"]
pytestmark = pytest.mark.machine


@contextlib.contextmanager
def running(description: Path, workdir: Path, script: str) -> Iterator[subprocess.Popen[str]]:
    """The command, up to the point where the script has printed `here`."""
    path = workdir.with_suffix(".py")
    path.write_text(script)
    command = [*COMMAND, "run", str(path), "--description", str(description), "--workdir", str(workdir)]
    with subprocess.Popen(
        [*command, "--machines", "container"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "here\n"
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
                record.teardown(workdir)


BLOCKED = """
machine.wait_for_unit("multi-user.target")
print("here", flush=True)
machine.succeed("sleep 600")
"""
WHILE_BOOTING = """
start_all()
print("here", flush=True)
machine.wait_until_succeeds("false")
"""


def teardown(workdir: Path) -> subprocess.CompletedProcess[str]:
    """The command that removes what a run left."""
    return subprocess.run(
        [*COMMAND, "teardown", "--workdir", str(workdir)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.parametrize("script", [BLOCKED, WHILE_BOOTING], ids=["blocked", "booting"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_of_it_and_keeps_the_logs(
    description: Path, tmp_path: Path, script: str, number: signal.Signals
) -> None:
    workdir = tmp_path / "work"
    with running(description, workdir, script) as process:
        run_id = record.read(workdir).run_id
        assert traces(run_id)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert traces(run_id) == []
    assert (workdir / "logs" / "driver.log").stat().st_size
    assert not (workdir / "machines").exists()


def test_a_second_ctrl_c_does_not_leave_half_of_it(description: Path, tmp_path: Path) -> None:
    with running(description, tmp_path / "work", BLOCKED) as process:
        run_id = record.read(tmp_path / "work").run_id
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.001)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert traces(run_id) == []


def test_what_a_killed_run_left_can_be_torn_down(description: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    with running(description, workdir, BLOCKED) as process:
        run_id = record.read(workdir).run_id
        process.kill()
        process.communicate(timeout=60)
    assert traces(run_id)
    done = teardown(workdir)
    assert (done.returncode, done.stderr) == (0, "")
    assert traces(run_id) == []
    assert not workdir.exists()


def test_tearing_down_a_live_run_ends_it_first(description: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    with running(description, workdir, BLOCKED) as process:
        run_id = record.read(workdir).run_id
        assert teardown(workdir).returncode == 0
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert traces(run_id) == []
    assert not workdir.exists()


def test_two_runs_side_by_side(description: Path, tmp_path: Path) -> None:
    with (
        running(description, tmp_path / "one", BLOCKED) as one,
        running(description, tmp_path / "two", BLOCKED) as two,
    ):
        endpoints = [json.loads((tmp_path / name / "endpoints.json").read_text()) for name in ("one", "two")]
        assert endpoints[0]["alpha"] != endpoints[1]["alpha"]
        run_ids = [record.read(tmp_path / name).run_id for name in ("one", "two")]
        one.send_signal(signal.SIGINT)
        one.communicate(timeout=60)
        assert traces(run_ids[0]) == []
        assert two.poll() is None
        assert traces(run_ids[1])
        two.send_signal(signal.SIGINT)
        two.communicate(timeout=60)
        assert traces(run_ids[1]) == []


def test_teardown_refuses_what_is_no_labs_work_folder(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "lab.json").write_text("{}")
    done = teardown(tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "is not a lab's work folder" in done.stderr
    assert (tmp_path / "precious").read_text() == "kept"
    assert teardown(tmp_path / "absent").returncode == 1
