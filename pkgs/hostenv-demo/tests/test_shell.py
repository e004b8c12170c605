import subprocess
from pathlib import Path

import pytest
from hostenv_demo import shell

ENDPOINTS = {
    "node-a": "http://127.0.0.2:8080",
    "node-a-ssh": "ssh://127.0.0.2:2222",
    "provider-ssh": "ssh://127.0.0.4:2223",
}
SITE = "http://127.0.0.1:8081"


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    folder = tmp_path / "a run's folder"
    folder.mkdir()
    shell.prepare(folder, ENDPOINTS, SITE)
    return folder


def enter(workdir: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([workdir / "enter", *command], capture_output=True, text=True, timeout=60)


def test_ssh_knows_the_machines_by_their_names(workdir: Path) -> None:
    lines = enter(workdir, "ssh", "-G", "provider").stdout.splitlines()
    assert {"hostname 127.0.0.4", "port 2223", "user root", "stricthostkeychecking true"} <= set(lines)
    assert f"identityfile {workdir}/ssh/key" in lines


def test_the_key_is_the_owners_alone(workdir: Path) -> None:
    assert (workdir / "ssh" / "key").stat().st_mode & 0o077 == 0


def test_curl_finds_the_site_by_its_name(workdir: Path) -> None:
    done = enter(workdir, "curl", "-sv", "http://demo.hostenv.local/")
    assert "127.0.0.1" in done.stderr
    assert "8081" in done.stderr


def test_arguments_reach_the_provider_as_they_are(workdir: Path) -> None:
    (workdir / "bin" / "ssh").write_text('#!/bin/sh\nfor each; do echo "$each"; done\n')
    done = enter(workdir, "hostenv-provider", "jobs", "it's; rm", "$HOME")
    machine, command = done.stdout.splitlines()
    assert machine == "provider"
    understood = subprocess.run(
        ["bash", "-c", f"hostenv-provider() {{ printf '%s\\n' \"$@\"; }}; {command}"],
        capture_output=True,
        text=True,
    )
    assert understood.stdout.splitlines() == ["jobs", "it's; rm", "$HOME"]
    assert enter(workdir, "hostenv-provider").stdout.splitlines()[1].strip() == "hostenv-provider"


def test_trigger_webhook_asks_this_run(workdir: Path) -> None:
    done = enter(workdir, "trigger-webhook")
    assert done.returncode == 1
    assert f"{workdir}/runtime/hostenv-provider.sock" in done.stderr


def test_nix_sees_the_flake_and_nothing_else_of_the_folder(workdir: Path) -> None:
    listed = subprocess.run(
        ["git", "-C", workdir, "ls-files"], capture_output=True, text=True, check=True
    ).stdout
    assert listed == "flake.nix\n"


def test_a_browser_needs_one_line_of_hosts(workdir: Path) -> None:
    assert (workdir / "hosts").read_text() == (
        "127.0.0.1 demo.hostenv.local drupal-main-2855093.demo.hostenv.test\n"
    )


def test_what_the_commands_start_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert set(shell.missing_packages()) == {"curl", "openssh-client"}
    (tmp_path / "curl").touch(0o755)
    assert shell.missing_packages() == ("openssh-client",)
