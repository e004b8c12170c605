"""A machine that is a systemd-nspawn container in the run's own network and control group."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from hostenv_core import processes

from hostenv_lab import run
from hostenv_lab.cgroup import ControlGroup
from hostenv_lab.description import MachineDescription
from hostenv_lab.errors import MachineError
from hostenv_lab.layer import Layer
from hostenv_lab.machine import BaseMachine, Result, Setting
from hostenv_lab.network import BRIDGE, Network

_SIGRTMIN_POWEROFF = signal.SIGRTMIN + 4
_BOOT_TIMEOUT = 120
_GRACE = 30
# The mounts live in the container's own mount namespace and end with it, however it ends. nspawn leaves files
# below /run/systemd/nspawn, which are hidden in the same way.
_LAUNCH = """
mkdir -p /run/systemd
mount -t tmpfs -o mode=755 tmpfs /run/systemd
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" "$4"
shift 4
exec "$@"
"""


class ContainerMachine(BaseMachine):
    """A container. Its PID 1 is the `leader`; commands enter the leader's namespaces."""

    def __init__(
        self,
        description: MachineDescription,
        setting: Setting,
        layer: Layer,
        image_root: Path,
        network: Network,
        group: ControlGroup,
        run_id: str,
    ) -> None:
        super().__init__(description, setting)
        self._layer = layer
        self._image_root = image_root
        self._network = network
        self._group = group
        # short: nspawn makes the name of a network interface, at most 15 bytes, from it
        self._nspawn_name = f"{run_id}-{self.number}"
        self._process: subprocess.Popen[bytes] | None = None
        self._leader: int | None = None
        self._detached: list[subprocess.Popen[bytes]] = []

    @property
    def _root(self) -> Path:
        return self._layer.root.parent / "root"

    def is_up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _was_started(self) -> bool:
        return self._process is not None

    def open_unix(self, path: str) -> socket.socket:
        leader = self._leader
        if leader is None:
            raise ConnectionRefusedError(f"{self.name} is not running")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(f"/proc/{leader}/root{path}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _start(self) -> None:
        nspawn = [
            "systemd-nspawn",
            "--quiet",
            f"--directory={self._root}",
            "--boot",
            "--register=no",
            "--keep-unit",
            f"--machine={self._nspawn_name}",
            f"--hostname={self.name}",
            f"--network-bridge={BRIDGE}",
            "--console=read-only",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
        ]
        mounts = [str(self._image_root), str(self._layer.root), str(self._layer.work), str(self._root)]
        self._process = run.start(
            self._network.enter(
                ["unshare", "--mount", "/bin/sh", "-ec", _LAUNCH, "launch", *mounts, *nspawn]
            ),
            output=self.log_file,
            groups=self._group.open(self.name),
        )

    def _connect(self) -> None:
        with self._lock:
            if self._leader is not None and self.is_up():
                return
            self._start_if_off()
            limit = time.monotonic() + self._scaled(_BOOT_TIMEOUT)
            with self.nested("waiting for the machine to come up"):
                while not self._find_leader():
                    if not self.is_up():
                        raise MachineError(f"{self.name} ended while it was booting; see {self.log_file}")
                    if time.monotonic() > limit:
                        raise MachineError(f"{self.name} did not boot; see {self.log_file}")
                    time.sleep(0.05)

    def _find_leader(self) -> bool:
        assert self._process is not None
        nspawn = Path("/proc") / str(self._process.pid)
        root = nspawn / "root" / self._root.relative_to("/")
        with contextlib.suppress(OSError):
            children = (nspawn / "task" / nspawn.name / "children").read_text().split()
            for leader in map(int, children):
                inside = Path(f"/proc/{leader}/root")
                # until it has entered the machine's root, a child sees the host's, where a bus may run too
                if inside.samefile(root) and (inside / "run/dbus/system_bus_socket").exists():
                    self._leader = leader
                    return True
        return False

    def _run(self, command: str, timeout: float | None) -> Result:
        return self._enter(self._bash(command, timeout), None if timeout is None else timeout + _GRACE)

    def _send(self, content: bytes, command: str) -> Result:
        return self._enter(self._bash(command, None), None, content)

    def _detach(self, command: str) -> None:
        argv = run.in_groups(self._groups(), self._inside(self._bash(command, None)))
        self._detached.append(run.start(argv, output=self.log_file))

    def _enter(self, argv: list[str], timeout: float | None, stdin: bytes = b"") -> Result:
        # a file, not a pipe: only standard output decides when a command has ended
        with tempfile.TemporaryFile() as stderr:
            try:
                done = run.run(
                    self._inside(argv),
                    groups=self._groups(),
                    timeout=timeout,
                    stdin=stdin,
                    stderr=stderr,
                    check=False,
                )
            except processes.CommandFailed as error:
                raise MachineError(f"{self.name} does not answer: {error}") from error
            stderr.seek(0)
            complaints = stderr.read()
        with self.log_file.open("ab") as console:
            console.write(complaints)
        if not self.is_up():
            raise MachineError(f"{self.name} ended during a command; see {self.log_file}")
        return Result(done.returncode, done.stdout, complaints)

    def _bash(self, command: str, timeout: float | None) -> list[str]:
        limit = [] if timeout is None else ["timeout", f"{timeout:g}"]
        return [*limit, "bash", "-c", command]

    def _inside(self, argv: list[str]) -> list[str]:
        # in a chroot the root of a container's mount namespace is still the host's: enter the leader's own
        enter = ["nsenter", "--target", str(self._leader), "--root", "-m", "-u", "-i", "-n", "-p", "-C"]
        return [*enter, "/usr/bin/env", "-C", "/tmp", *run.in_clean_environment(argv)]

    def _groups(self) -> list[Path]:
        # beside PID 1: systemd in the machine may then move the process into a session, as it does on login
        assert self._leader is not None
        try:
            return self._group.beside(self._leader)
        except OSError as error:
            raise MachineError(f"{self.name} is not running; see {self.log_file}") from error

    def _power_off(self) -> None:
        self._connect()
        self._signal(_SIGRTMIN_POWEROFF)

    def _reboot(self) -> None:
        # what Ctrl-Alt-Del does; under --keep-unit nspawn leaves the second half to its caller
        self._signal(signal.SIGINT)
        self.wait_for_shutdown()
        self._start()

    def _signal(self, number: int) -> None:
        assert self._leader is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._leader, number)

    def _wait_off(self, timeout: float) -> bool:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
            return True
        return False

    def _cut_power(self) -> None:
        self._group.kill(self.name)

    def _clean_up(self) -> None:
        for process in self._detached:
            processes.kill(process)
        self._detached.clear()
        self._group.kill(self.name)
        if self._process is not None:
            processes.kill(self._process)
        self._process = self._leader = None

    def _set_link(self, up: bool) -> None:
        # the container's end of the pair names the other end, which is in the run's namespace
        index = int(self._run("cat /sys/class/net/host0/iflink", _GRACE).stdout)
        self._network.set_link(self._network.interface(index), up)
