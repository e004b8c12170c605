"""apt-get is a program that writes down how it was called; nothing is installed."""

import os
import subprocess
from pathlib import Path

import pytest
from hostenv_core.errors import HostenvError
from hostenv_demo import packages

TREE = Path(__file__).parents[3]


def told(_text: str) -> None:
    raise AssertionError(f"nothing is installed, but it says: {_text}")


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found = ["mmdebstrap", "systemd-container"]
    monkeypatch.setattr(packages, "required_packages", lambda _machines: found)
    return found


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of an apt-get that fails once `tmp_path/broken` is there."""
    program = tmp_path / "bin" / "apt-get"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "apt: $*"\necho "$*" >> {tmp_path}/log\n[ ! -e {tmp_path}/broken ] || exit 100\n'
    )
    program.chmod(0o755)
    for name in ("bash", "dirname", "readlink", "sh"):
        (program.parent / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(program.parent))
    return tmp_path / "log"


@pytest.mark.usefixtures("missing")
def test_root_is_asked_for_before_packages_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HostenvError, match=r"^needs root.*: apt-get install .*debstrap systemd-container$"):
        packages.ensure("container", (), told)


def test_root_is_asked_for_even_if_nothing_is_missing(
    missing: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing.clear()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HostenvError, match=r"needs root.*as root$"):
        packages.ensure("container", (), told)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    packages.ensure("container", (), told)


@pytest.mark.usefixtures("missing")
def test_what_will_be_installed_is_said_first(
    apt: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    said: list[str] = []

    def tell(text: str) -> None:
        assert not apt.exists()
        said.append(text)

    packages.ensure("container", ("curl",), tell)
    assert said == ["installing 3 packages that the demo needs: curl, mmdebstrap, systemd-container"]
    assert apt.read_text().splitlines() == [
        "update -qq",
        "install --no-install-recommends curl mmdebstrap systemd-container -y -qq",
    ]
    output = capfd.readouterr()
    assert output.out == ""
    assert "apt: update" in output.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may install")
@pytest.mark.parametrize("script", ["run-demo.sh", "teardown.sh", "trigger-webhook.sh"])
def test_python_that_cannot_be_installed_is_one_line_of_the_script_that_was_started(
    apt: Path, script: str
) -> None:
    (apt.parent / "broken").touch()
    done = subprocess.run(
        [TREE / script], env={**os.environ, "PYTHON": "python3"}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stdout == ""
    own = [line for line in done.stderr.splitlines() if not line.startswith("apt: ")]
    assert [line.partition(":")[0] for line in own] == [script.removesuffix(".sh")] * 2
    assert own[1].endswith("apt-get install python3")
