"""hostctl is a program that writes down how it was called; it is not this host's hosts file that changes."""

from pathlib import Path

import pytest
from hostenv_core.errors import HostenvError
from hostenv_demo import hosts


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    log = tmp_path / "calls"
    program = tmp_path / "bin" / "hostctl"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {log}\n[ ! -e {tmp_path}/refuse ] || {{ echo no >&2; exit 1; }}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "hosts").write_text("127.0.0.1 demo.hostenv.local\n")
    return log


def test_names_are_added_once_and_removed_at_the_end(calls: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    assert hosts.available()
    hosts.add(work)
    hosts.remove(work)
    hosts.remove(work)
    assert calls.read_text().splitlines() == [
        f"replace hostenv-demo-work --from {work}/hosts",
        "remove hostenv-demo-work",
    ]


def test_what_was_refused_is_not_removed_later(calls: Path, tmp_path: Path) -> None:
    (tmp_path / "refuse").touch()
    with pytest.raises(HostenvError, match="hostctl replace"):
        hosts.add(tmp_path / "work")
    hosts.remove(tmp_path / "work")
    assert len(calls.read_text().splitlines()) == 1


def test_what_hostctl_does_not_remove_is_remembered(calls: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    hosts.add(work)
    (tmp_path / "refuse").touch()
    with pytest.raises(HostenvError, match="take them out with: hostctl remove hostenv-demo-work"):
        hosts.remove(work)
    (tmp_path / "refuse").unlink()
    hosts.remove(work)
    assert calls.read_text().splitlines()[1:] == ["remove hostenv-demo-work"] * 2


def test_without_hostctl_nobody_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not hosts.available()
