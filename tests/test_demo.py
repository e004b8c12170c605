"""The demo as people run it: it proves the move, and it leaves nothing behind; on VMs with `-m long`."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from traces import assert_gone, traces

TREE = Path(__file__).parents[1]
LIMIT = 900
# of three guests on emulated processors
VM_LIMIT = 5400

pytestmark = pytest.mark.machine


# a new user's own, not the one that these tests run with
PYTHON = Path("/usr/bin/python3")
ENVIRONMENT = {**os.environ, **({"PYTHON": str(PYTHON)} if PYTHON.exists() else {})}


@contextmanager
def demo(
    workdir: Path, cwd: Path, *flags: str, machines: str = "container"
) -> Iterator[subprocess.Popen[str]]:
    """A running demo; its output is in `stdout`."""
    process = subprocess.Popen(
        [TREE / "run-demo.sh", "--automated", "--machines", machines, "--workdir", workdir, *flags],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(120)


def wait_for_stage(process: subprocess.Popen[str], name: str) -> None:
    """Read the demo's output up to the heading of a stage."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith(f"== {name}"):
            return
    pytest.fail(f"the demo never came to {name}:\n{''.join(seen)}")


def run_id(workdir: Path) -> str:
    identifier: str = json.loads((workdir / "lab.json").read_text())["run_id"]
    return identifier


def test_the_site_moves_and_nothing_is_left(tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    with demo(workdir, tmp_path, "--cleanup") as process:
        wait_for_stage(process, "Boot")
        run = run_id(workdir)
        assert (tmp_path / "hostenv-demo").resolve() == workdir
        assert (workdir / "flake.nix").is_file()
        wait_for_stage(process, "Provider")
        entered = subprocess.run(
            ["./hostenv-demo/enter", "ssh", "provider", "hostname"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert entered.stdout == "provider\n", entered.stderr
        output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, output
    assert "node-b serves: from-node-a" in output
    assert_gone(run, workdir)
    assert not (tmp_path / "hostenv-demo").is_symlink()


@pytest.mark.long
def test_the_site_moves_between_virtual_machines(tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    with demo(workdir, tmp_path, "--cleanup", machines="vm") as process:
        wait_for_stage(process, "Boot")
        run = run_id(workdir)
        output, _ = process.communicate(timeout=VM_LIMIT)
    assert process.returncode == 0, output
    assert "node-b serves: from-node-a" in output
    assert_gone(run, workdir)


@pytest.mark.parametrize("stage", ["Boot", "Deploy"])
def test_an_abort_leaves_nothing(stage: str, tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    with demo(workdir, tmp_path, "--cleanup") as process:
        wait_for_stage(process, stage)
        run = run_id(workdir)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert_gone(run, workdir)
    assert not (tmp_path / "hostenv-demo").is_symlink()


def test_signals_up_to_the_very_end_leave_nothing(tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    with demo(workdir, tmp_path, "--cleanup") as process:
        wait_for_stage(process, "Boot")
        run = run_id(workdir)
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.001)
        assert process.stdout is not None
        output = process.stdout.read()
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert_gone(run, workdir)
    assert not (tmp_path / "hostenv-demo").is_symlink()


def test_a_reader_that_goes_away_ends_the_run(tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    command = f"{TREE}/run-demo.sh --automated --machines container --workdir {workdir} | head -1"
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines() == [
        "run-demo: aborted; machines, network and work folder of the run are gone"
    ]
    assert list(tmp_path.iterdir()) == []


def test_teardown_removes_what_a_killed_run_left(tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    with demo(workdir, tmp_path) as process:
        wait_for_stage(process, "Nodes")
        run = run_id(workdir)
        process.kill()
        process.wait(60)
    assert traces(run, workdir)
    subprocess.run(
        [TREE / "teardown.sh", "--workdir", workdir],
        cwd=tmp_path,
        check=True,
        timeout=120,
        capture_output=True,
    )
    assert_gone(run, workdir)
    assert not (tmp_path / "hostenv-demo").is_symlink()


def test_teardown_refuses_a_folder_that_is_no_demos(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("stays")
    done = subprocess.run(
        [TREE / "run-demo.sh", "--teardown", "--workdir", tmp_path],
        check=False,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr
    assert (tmp_path / "precious").exists()


@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        (["--nonsense"], 2, "--nonsense"),
        (["--machines", "zeppelin"], 2, "zeppelin"),
        (["--comin", "/etc/passwd"], 2, "not an executable file"),
        (["--drupal", "/etc"], 2, "core/lib/Drupal.php"),
        (["--automated", "--workdir", "/etc"], 1, "/etc"),
    ],
)
def test_bad_input_is_one_line(flags: list[str], status: int, said: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [TREE / "run-demo.sh", *flags],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
