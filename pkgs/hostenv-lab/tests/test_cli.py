"""Bad input: one line that says what, where and what to do; nothing is left behind."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hostenv_lab import cli, host

REPOSITORY = Path(__file__).parents[3]
DESCRIPTION = ["--description", str(REPOSITORY / "pkgs/hostenv-demo/machines/machines.toml")]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "script.py"
    path.write_text("raise AssertionError('must not run')\n")
    return str(path)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["run"],
        ["run", "script.py", "--machines", "cloud"],
        ["run", "script.py", "--unknown"],
        ["run", "script.py", "--substitute", "comin"],
        ["teardown"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: hostenv-lab" in capsys.readouterr().err


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("hostenv-lab: ")
    assert said.count("\n") == 1
    return said


def test_what_cannot_be_used_is_refused(
    script: str, tmp_path: Path, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plain").write_text("no program")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "lab.json").write_text("another's")
    run = ["run", script, *DESCRIPTION, "--machines", "container"]
    for arguments, complaint in (
        (["run", str(tmp_path / "absent.py"), *DESCRIPTION], "there is no such script"),
        (["run", script, "--description", str(tmp_path / "absent.toml")], "cannot be read"),
        ([*run, "--substitute", f"comin={tmp_path / 'absent'}"], "there is no such comin"),
        (
            [*run, "--substitute", f"comin={tmp_path / 'plain'}"],
            "is not an executable program to use as comin",
        ),
        ([*run, "--substitute", f"drupal={tmp_path}"], "holds the work folder"),
        ([*run, "--substitute", f"other={tmp_path}"], "has no substitute 'other'"),
        ([*run, "--workdir", str(tmp_path / "work")], "is another run's work folder"),
    ):
        assert complaint in refused(arguments, capsys)
    assert list(temporary.iterdir()) == []
    assert (tmp_path / "work" / "lab.json").read_text() == "another's"


def test_missing_programs_are_named_with_the_command(
    script: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda program, path: None if program == "mmdebstrap" else path)
    said = refused(["run", script, *DESCRIPTION, "--machines", "container"], capsys)
    assert said.endswith("run: apt-get install --no-install-recommends mmdebstrap\n")
    assert cli.main(["packages", "--machines", "container"]) == 0
    assert capsys.readouterr().out == "mmdebstrap"


def test_what_vms_need_is_asked_for_only_where_kvm_runs_a_guest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda program, path: None if "qemu" in program else path)
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(host, "_KVM_DEVICE", device)
    assert not [package for package in host.required_packages("auto") if "qemu" in package]
    monkeypatch.setattr(host, "_guest_runs", lambda _device: True)
    assert "qemu-system-x86" in host.required_packages("auto")
    assert "qemu-system-x86" in host.required_packages("vm")


def test_root_is_demanded(
    script: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "machines need root" in refused(["run", script, *DESCRIPTION], capsys)
