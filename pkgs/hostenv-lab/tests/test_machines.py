"""The driver on real machines: containers, or VMs with HOSTENV_LAB_TEST_MACHINES=vm."""

import dataclasses
import http.client
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import pytest
from hostenv_core.errors import HostenvError
from hostenv_lab import host, record
from hostenv_lab.description import Description, MachineDescription, PortForward, SocketForward, load
from hostenv_lab.errors import RequestedAssertionFailed
from hostenv_lab.lab import Lab
from traces import traces

REPOSITORY = Path(__file__).parents[3]
MACHINES = cast(host.Choice, os.environ.get("HOSTENV_LAB_TEST_MACHINES", "container"))
pytestmark = pytest.mark.machine


# A chroot whose outside is another root, and in which a message bus answers, as on any desktop.
_IN_A_CHROOT = """
mount --rbind / "$1"
mount -t tmpfs tmpfs "$1/run"
mkdir "$1/run/dbus"
: > "$1/run/dbus/system_bus_socket"
echo outside > "$2"
mount --bind "$2" /etc/hostname
shift 2
exec chroot "$@"
"""


def bare(*names: str) -> Description:
    """Machines with nothing of a product, from the image that the repository's own machines use."""
    machines = tuple(
        MachineDescription(name, number, 768, (), (), (), ()) for number, name in enumerate(sorted(names), 1)
    )
    full = load(REPOSITORY / "pkgs/hostenv-demo/machines/machines.toml")
    return dataclasses.replace(full, machines=machines, ports=(), sockets=())


def test_a_test_script_finds_the_semantics_of_the_nixos_driver(tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    with Lab(bare("alpha", "beta-2"), workdir, MACHINES) as lab:
        lab.driver.run_script(Path(__file__).parent / "scripts" / "semantics.py")
    assert (workdir / "output" / "fetched" / "tree" / "link").is_symlink()
    assert (workdir / "output" / "one").read_bytes() == bytes(range(256)) * 300
    assert traces(record.read(workdir).run_id) == []
    # the consoles stay, also those of machines that were started again
    assert (workdir / "logs" / "alpha.log").read_text(errors="replace").count(
        "Reached target basic.target"
    ) >= 3
    assert "commands: bash" in (workdir / "logs" / "driver.log").read_text()
    assert not (workdir / "machines").exists()


def test_the_callers_umask_is_not_the_machines(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text('machine.succeed("runuser -u nobody -- ls /etc/hostname")\n')
    umask = os.umask(0o077)
    try:
        with Lab(bare("alpha"), tmp_path / "work", MACHINES) as lab:
            lab.driver.run_script(script)
    finally:
        left = os.umask(umask)
    assert left == 0o077


def test_in_a_chroot_commands_run_in_the_machine(tmp_path: Path, description: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text('assert machine.succeed("cat /etc/hostname") == "alpha\\n"\n')
    # a child that has not entered the machine's root yet, for longer than nspawn's own
    slow = tmp_path / "bin" / "systemd-nspawn"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\nsleep 1\nexec {shutil.which(slow.name)} "$@"\n')
    slow.chmod(0o755)
    root = tmp_path / "root"
    root.mkdir()
    run = [sys.executable, "-m", "hostenv_lab", "run", str(script), "--description", str(description)]
    run += ["--workdir", str(tmp_path / "work"), "--machines", "container"]
    done = subprocess.run(
        ["unshare", "--mount", "/bin/sh", "-ec", _IN_A_CHROOT, "enter", root, tmp_path / "name", root, *run],
        env={
            **os.environ,
            "PATH": f"{slow.parent}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_ports_and_sockets_answer_on_this_host(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        described = dataclasses.replace(
            bare("alpha"),
            ports=(PortForward("alpha", "http", "alpha", 8000, "127.0.0.2", port),),
            sockets=(SocketForward("alpha", "/run/echo.sock", "runtime/echo.sock"),),
        )
        script = tmp_path / "script.py"
        script.write_text(
            'machine.succeed("mkdir /srv/www && echo hello > /srv/www/page")\n'
            'machine.succeed("systemd-run -q --unit web python3 -m http.server --directory /srv/www 8000")\n'
            "machine.wait_for_open_port(8000)\n"
            'machine.succeed("systemd-run -q --unit echo nc -lkU -N /run/echo.sock < /dev/null")\n'
        )
        with Lab(described, tmp_path / "work", MACHINES) as lab:
            endpoint = urlsplit(lab.endpoints["alpha"])
            assert endpoint.hostname == "127.0.0.2"
            assert endpoint.port != port
            # nobody is there yet: the connection is closed, not left hanging
            with pytest.raises((http.client.HTTPException, ConnectionError)):
                get(endpoint.port or 0)
            lab.driver.run_script(script)
            assert get(endpoint.port or 0) == b"hello\n"
            path = tmp_path / "work" / "runtime" / "echo.sock"
            assert path.stat().st_mode & 0o777 == 0o600
            lab.driver.machines[0].wait_for_open_unix_socket("/run/echo.sock")
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(60)
                client.connect(str(path))
                client.shutdown(socket.SHUT_WR)
                assert client.recv(1) == b""
        assert not path.exists()


def test_a_failing_script_leaves_its_logs_and_nothing_else(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text('machine.succeed("echo the reason >&2; false")\n')
    workdir = tmp_path / "work"
    with (
        pytest.raises(RequestedAssertionFailed, match="exit code 1"),
        Lab(bare("alpha"), workdir, MACHINES) as lab,
    ):
        lab.driver.run_script(script)
    assert "alpha # the reason" in (workdir / "logs" / "driver.log").read_text()
    assert traces(record.read(workdir).run_id) == []


def test_what_mmdebstrap_said_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "bin" / "unshare"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'E: the cause' >&2\necho 'and its story' >&2\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lab = Lab(bare("alpha"), tmp_path / "work", "container")
    with pytest.raises(HostenvError, match=r"E: the cause; .*driver\.log"), lab:
        pass
    assert "and its story" in (tmp_path / "work" / "logs" / "driver.log").read_text()


def get(port: int) -> bytes:
    """The page that the forwarded web server has."""
    connection = http.client.HTTPConnection("127.0.0.2", port, timeout=60)
    try:
        connection.request("GET", "/page")
        return connection.getresponse().read()
    finally:
        connection.close()
