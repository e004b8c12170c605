"""How a run ends: what is done at last is done whole, and does not change how the run went."""

import contextlib
import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostenv_core.errors import HostenvError
from hostenv_demo import demo, hosts, workdir
from hostenv_demo.console import Console
from hostenv_lab import record


@pytest.fixture(autouse=True)
def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def ended(_make: object, _parts: object, folder: Path, *_: object) -> bool:
        record.create(folder)
        return True

    monkeypatch.setattr(demo, "_run", ended)


@contextlib.contextmanager
def no_machines(_folder: Path, _tell: object) -> Iterator[None]:
    yield


def run(folder: Path, *, cleanup: bool = True) -> tuple[bool, str]:
    stream = io.StringIO()
    options = demo.Options(workdir=folder, cleanup=cleanup)
    passed = demo.run_on(no_machines, {}, options, Console(stream))  # type: ignore[arg-type]
    return passed, stream.getvalue()


def test_names_that_stay_are_no_failure_and_can_be_removed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_folder: Path) -> None:
        raise HostenvError("take them out with: hostctl remove x")

    with monkeypatch.context() as broken:
        broken.setattr(hosts, "remove", refuse)
        passed, said = run(tmp_path / "work")
    assert passed
    assert "hostctl remove x" in said
    assert f"--teardown --workdir {tmp_path}/work" in said
    workdir.remove(tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_no_signal_cuts_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove_folder = record.remove_folder

    def interrupted(folder: Path) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        remove_folder(folder)

    monkeypatch.setattr(record, "remove_folder", interrupted)
    assert run(tmp_path / "work")[0]
    assert not (tmp_path / "work").exists()


def test_a_folder_that_is_kept_is_not_taken_for_a_crash(tmp_path: Path) -> None:
    run(tmp_path / "work", cleanup=False)
    assert record.read(tmp_path / "work").ended
