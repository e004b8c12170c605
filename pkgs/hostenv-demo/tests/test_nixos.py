"""The wizard when the NixOS test driver runs it: the same pauses on machines that are not the lab's."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostenv_demo import evidence
from hostenv_demo.names import LINK
from hostenv_demo.stages import STAGES
from hostenv_demo.summary import summarise
from pty_session import PROMPT, REPOSITORY, Terminal, terminal

pytestmark = pytest.mark.machine
_PATH = os.pathsep.join(sys.path)
_COMMAND = re.compile(r"^     (\S.*)$", re.MULTILINE)
_ABORTED = 130


@contextlib.contextmanager
def guided() -> Iterator[Terminal]:
    """The driver in a terminal; its folder is short, for it holds sockets."""
    with tempfile.TemporaryDirectory(prefix="nixos-") as made:
        folder = Path(made)
        command = [sys.executable, str(Path(__file__).parent / "nixos_driver.py"), str(folder / "lab")]
        with terminal(folder, command, PYTHONPATH=_PATH) as found:
            yield found


def work_folder(wizard: Terminal) -> Path:
    """The run's folder, to which the link leads."""
    return (wizard.folder / LINK).resolve(strict=True)


def test_all_stages_with_commands_evidence_and_each_machines_log() -> None:
    with guided() as wizard:
        tried = set()
        for number, name in enumerate(STAGES, 1):
            page = wizard.until(PROMPT)
            shown = page[page.index(f"-- {number} of {len(STAGES)}: ") :]
            assert name in " ".join(shown.split())
            for command in _COMMAND.findall(shown):
                # How a machine is reached is all that is not as in the lab.
                way = tuple(command.split()[:3])
                if way in tried:
                    continue
                tried.add(way)
                done = subprocess.run(
                    ["bash", "-c", command], cwd=wizard.folder, capture_output=True, text=True, timeout=300
                )
                assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            wizard.press("\n")
        assert "-- Done" in wizard.until(PROMPT)
        wizard.press("\n")
        assert wizard.exit_status() == 0, wizard.raw
        # what the driver says goes to its own log, but for what it said before the wizard began
        assert "subtest: " not in wizard.raw
        work = work_folder(wizard)
        assert "subtest: Boot" in (work / "logs" / "driver.log").read_text()
        assert (work / "logs" / "node-b.log").read_text() == "node-b login:\n"
        assert (work / "logs" / "provider-service.log").stat().st_size
        found = summarise(evidence.load(work / "evidence"))
        assert found.passed
        assert found.reads > 0
        assert "NixOS VMs" in (work / "evidence" / "report.html").read_text()
        teardown = [REPOSITORY / "run-demo.sh", "--teardown", "--workdir", work]
        subprocess.run(teardown, cwd=wizard.folder, check=True, timeout=120)
        assert not work.exists()


@pytest.mark.parametrize("key", ["a", "\x03"])
def test_an_abort_ends_the_machines_and_removes_the_folder(key: str) -> None:
    with guided() as wizard:
        wizard.until(PROMPT)
        wizard.press("\n")
        wizard.until(PROMPT)
        work = work_folder(wizard)
        assert (work / "runtime").is_dir()
        wizard.press(key)
        assert wizard.exit_status() == _ABORTED, wizard.raw
        assert "run-demo: aborted" in wizard.raw
        assert not work.exists()
        assert not (wizard.folder / LINK).is_symlink()


def test_the_driver_cleans_up_when_the_terminal_goes_away() -> None:
    with tempfile.TemporaryDirectory(prefix="nixos-") as made:
        folder = Path(made)
        command = [sys.executable, str(Path(__file__).parent / "nixos_driver.py"), str(folder / "lab")]
        with terminal(folder, command, PYTHONPATH=_PATH) as wizard:
            wizard.until(PROMPT)
            work = work_folder(wizard)
            wizard.hang_up()
        assert (folder / "cleaned-up").exists()
        assert not work.exists()


# the driver with a change of `nixos_driver` at CHANGE
_CHANGED = f"""
import dataclasses, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import nixos_driver
from hostenv_demo import workdir
workdir.PARENT = sys.argv[1]
CHANGE
sys.argv[1:] = ["lab"]
nixos_driver.main()
"""


def refused(folder: str, change: str) -> str:
    """What the wizard says when it ends before it has started anything."""
    command = [sys.executable, "-c", _CHANGED.replace("CHANGE", change), folder]
    with terminal(Path(folder), command, PYTHONPATH=_PATH) as wizard:
        assert wizard.exit_status() == 1
    assert [path.name for path in Path(folder).iterdir()] == ["cleaned-up"]
    return wizard.raw


def test_a_port_in_use_is_named_before_anything_starts() -> None:
    with socket.socket() as listener, tempfile.TemporaryDirectory(prefix="nixos-") as made:
        listener.bind(("127.0.0.3", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        said = refused(made, f"nixos_driver.free = lambda port: dataclasses.replace(port, port={taken})")
    assert f"run-demo: 127.0.0.3:{taken}: Address already in use; the machines answer there" in said


def test_too_little_memory_is_named_before_anything_starts() -> None:
    with tempfile.TemporaryDirectory(prefix="nixos-") as made:
        said = refused(made, "nixos_driver.MEMORY = 10**9")
    assert "run-demo: the machines take 1000000000 MiB of memory, and " in said
