"""A machine that is a QEMU guest, driven through a root shell on a virtio serial port."""

import base64
import contextlib
import select
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostenv_core import processes
from hostenv_core.errors import HostenvError

from hostenv_lab import run
from hostenv_lab.cgroup import ControlGroup
from hostenv_lab.description import MachineDescription
from hostenv_lab.errors import MachineError
from hostenv_lab.image import ROOT_PARTITION, Image
from hostenv_lab.layer import Layer
from hostenv_lab.machine import BaseMachine, Result, Setting
from hostenv_lab.network import Network

MAGIC = b"Spawning backdoor root shell..."
_BOOT_TIMEOUT = 300
_GRACE = 60
_MONITOR_TIMEOUT = 20
_PACK_TIMEOUT = 300
_CHUNK = 32 * 1024
_STDERR = "/run/lab-stderr"
_STDIN = "/run/lab-stdin"
_BLOCK = 512
# A guest has few devices, all of them known: without udev an emulated one boots in half the time.
_WITHOUT = (
    "systemd-udevd.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udev-trigger.service",
    "systemd-udev-load-credentials.service",
    "modprobe@configfs.service",
    "modprobe@drm.service",
    "modprobe@fuse.service",
    "modprobe@efi_pstore.service",
    "kmod-static-nodes.service",
)

_Check = Callable[[], None]


@dataclass(frozen=True)
class Acceleration:
    """How QEMU runs a guest: its options, the guest's CPUs and how much slower limits must count."""

    options: tuple[str, ...]
    cpus: int
    timeout_factor: float


KVM = Acceleration(("-accel", "kvm", "-cpu", "host"), 2, 1.0)
EMULATION = Acceleration(("-accel", "tcg,thread=multi", "-cpu", "max"), 1, 10.0)


class VirtualMachine(BaseMachine):
    """A QEMU guest with its own qcow2 disk over the image's."""

    def __init__(
        self,
        description: MachineDescription,
        setting: Setting,
        layer: Layer,
        image: Image,
        network: Network,
        group: ControlGroup,
        acceleration: Acceleration,
    ) -> None:
        super().__init__(description, setting)
        self._folder = layer.root.parent
        self._layer = layer
        self._image = image
        self._network = network
        self._group = group
        self._acceleration = acceleration
        self._memory = description.memory
        self._tap = f"tap{self.number}"
        self._process: subprocess.Popen[bytes] | None = None
        self._shell: _Shell | None = None
        self._connected = False

    def prepare(self, groups: Sequence[Path]) -> None:
        """Make the machine's disks and its interface, inside control groups. Raises HostenvError."""
        disk = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(self._image.disk)]
        run.run([*disk, str(self._disk)], timeout=_MONITOR_TIMEOUT, groups=groups)
        pack_layer(self._layer.root, self._layer_disk, groups)
        self._network.add_tap(self._tap)

    @property
    def _disk(self) -> Path:
        return self._folder / "disk.qcow2"

    @property
    def _layer_disk(self) -> Path:
        return self._folder / "layer.tar"

    def is_up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _was_started(self) -> bool:
        return self._process is not None

    def open_unix(self, path: str) -> socket.socket:
        return self._network.connect(self.number, self._layer.forward_ports[path], 30)

    def _start(self) -> None:
        self._shell = _Shell(self._folder / "shell")
        kernel = (
            f"root=PARTUUID={ROOT_PARTITION} rootfstype=ext4 rw rootwait init=/usr/lib/hostenv-lab/init"
            " console=ttyS0 net.ifnames=0 mitigations=off panic=-1"
            " systemd.getty_auto=no" + "".join(f" systemd.mask={unit}" for unit in _WITHOUT)
        )
        command = [
            "qemu-system-x86_64",
            *("-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35"),
            *self._acceleration.options,
            *("-smp", str(self._acceleration.cpus), "-m", str(self._memory)),
            *("-kernel", str(self._image.kernel), "-append", kernel),
            *(
                "-drive",
                f"file={_escaped(self._disk)},if=none,id=root,format=qcow2,cache=unsafe,discard=unmap",
            ),
            *("-drive", f"file={_escaped(self._layer_disk)},if=none,id=layer,format=raw,readonly=on"),
            *("-device", "nvme,id=nvme0,serial=lab"),
            *("-device", "nvme-ns,drive=root,bus=nvme0,nsid=1"),
            *("-device", "nvme-ns,drive=layer,bus=nvme0,nsid=2"),
            *("-netdev", f"tap,id=net0,ifname={self._tap},script=no,downscript=no"),
            *("-device", f"virtio-net-pci,netdev=net0,id=nic0,romfile=,mac=52:54:00:12:01:{self.number:02x}"),
            *("-chardev", f"socket,id=shell,path={_escaped(self._folder / 'shell')}"),
            *("-chardev", f"file,id=journal,path={_escaped(self.log_file)},append=on"),
            *("-chardev", f"file,id=serial,path={_escaped(self.log_file)},append=on"),
            *("-serial", "chardev:serial"),
            *("-device", "virtio-serial", "-device", "virtconsole,chardev=journal,nr=0"),
            *("-device", "virtserialport,chardev=shell,name=lab.shell,nr=1"),
            *("-device", "virtio-rng-pci"),
            *("-monitor", f"unix:{self._folder / 'monitor'},server=on,wait=off"),
            *(() if self._allow_reboot else ("-no-reboot",)),
        ]
        self._process = run.start(
            self._network.enter(command), output=self.log_file, groups=self._group.open(self.name)
        )

    def _connect(self) -> None:
        with self._lock:
            if self._connected and self.is_up():
                return
            self._start_if_off()
            assert self._shell is not None
            limit = time.monotonic() + self._scaled(_BOOT_TIMEOUT)
            with self.nested("waiting for the machine to come up"):
                self._shell.accept(limit, self._alive)
                self._shell.read_until(MAGIC + b"\n", limit, self._alive)
            self._connected = True

    def _alive(self) -> None:
        if not self.is_up():
            raise MachineError(f"{self.name} ended; see {self.log_file}")

    def _run(self, command: str, timeout: float | None) -> Result:
        limit = "" if timeout is None else f"timeout {timeout:g} "
        return self._converse(f"{limit}bash -c {shlex.quote(command)} </dev/null", timeout)

    def _send(self, content: bytes, command: str) -> Result:
        assert self._shell is not None
        encoded = base64.b64encode(content).decode()
        self._converse(f": >{_STDIN}", _GRACE)
        for position in range(0, len(encoded), _CHUNK):
            part = encoded[position : position + _CHUNK]
            self._converse(f"echo {part} | base64 -d >>{_STDIN}", _GRACE)
        return self._converse(f"bash -c {shlex.quote(command)} <{_STDIN}", None)

    def _detach(self, command: str) -> None:
        assert self._shell is not None
        self._shell.send(f"bash -c {shlex.quote(command)} </dev/null >/dev/null 2>&1 &\n")

    def _converse(self, command: str, timeout: float | None) -> Result:
        """Send one line to the shell and read three: output, exit status, standard error."""
        assert self._shell is not None
        limit = None if timeout is None else time.monotonic() + timeout + _GRACE
        self._shell.send(
            f"({command}) 2>{_STDERR} | (base64 -w 0; echo); echo ${{PIPESTATUS[0]}};"
            f" tee /dev/hvc0 <{_STDERR} | base64 -w 0; echo\n"
        )
        try:
            stdout, status, stderr = (
                self._shell.read_until(b"\n", limit, self._alive).strip() for _ in range(3)
            )
            return Result(int(status), base64.b64decode(stdout), base64.b64decode(stderr))
        except (ValueError, TimeoutError) as error:
            raise MachineError(f"{self.name} does not answer: {error}; see {self.log_file}") from error

    def _power_off(self) -> None:
        self._connect()
        assert self._shell is not None
        self._shell.send("poweroff\n")

    def _reboot(self) -> None:
        assert self._shell is not None
        self._shell.send("systemctl --no-block reboot\n")
        self._connected = False

    def _wait_off(self, timeout: float) -> bool:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
            return True
        return False

    def _cut_power(self) -> None:
        # QEMU closes the disk's file in order, so what the guest has written is not lost with QEMU's caches
        assert self._process is not None
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._monitor("quit")
            self._process.wait(_MONITOR_TIMEOUT)

    def _clean_up(self) -> None:
        self._connected = False
        if self._shell is not None:
            self._shell.close()
            self._shell = None
        self._group.kill(self.name)
        if self._process is not None:
            processes.kill(self._process)
            self._process = None

    def _set_link(self, up: bool) -> None:
        self._monitor(f"set_link nic0 {'on' if up else 'off'}")

    def _monitor(self, command: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as monitor:
            monitor.settimeout(_MONITOR_TIMEOUT)
            monitor.connect(str(self._folder / "monitor"))
            monitor.sendall(f"{command}\n".encode())
            # it has been carried out when the prompt is there again, or the connection is closed
            answer = b""
            while answer.count(b"(qemu) ") < 2 and (part := monitor.recv(4096)):
                answer += part


class _Shell:
    """This side of the port that the guest's root shell listens to."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._listener.setblocking(False)
        self._connection: socket.socket | None = None
        self._buffer = b""

    def accept(self, limit: float, alive: _Check) -> None:
        while self._connection is None:
            alive()
            if time.monotonic() > limit:
                raise MachineError("QEMU did not open the port of the machine's shell")
            if select.select([self._listener], [], [], 0.2)[0]:
                self._connection, _ = self._listener.accept()

    def send(self, text: str) -> None:
        assert self._connection is not None
        self._connection.settimeout(_MONITOR_TIMEOUT)
        try:
            self._connection.sendall(text.encode())
        except OSError as error:
            raise MachineError(f"the machine's shell is gone: {error}") from error

    def read_until(self, end: bytes, limit: float | None, alive: _Check) -> bytes:
        """Everything up to and including `end`.

        Raises TimeoutError at the limit, MachineError when the guest has ended.
        """
        assert self._connection is not None
        while end not in self._buffer:
            if limit is not None and time.monotonic() > limit:
                raise TimeoutError("no answer within the limit")
            if not select.select([self._connection], [], [], 1.0)[0]:
                alive()
                continue
            part = self._connection.recv(65536)
            if not part:
                raise MachineError("the machine ended")
            self._buffer += part
        taken, _, self._buffer = self._buffer.partition(end)
        return taken + end

    def close(self) -> None:
        for connection in (self._connection, self._listener):
            if connection is not None:
                connection.close()


def pack_layer(layer: Path, target: Path, groups: Sequence[Path]) -> None:
    """Write a layer as a tar archive that a VM reads as a disk. Raises HostenvError."""
    hidden = [path for path in layer.rglob("*") if path.is_char_device()]
    if hidden:
        raise HostenvError(f"the layer deletes /{hidden[0].relative_to(layer)}, which a VM's layer cannot do")
    run.run(["tar", "-C", str(layer), "-cf", str(target), "."], timeout=_PACK_TIMEOUT, groups=groups)
    with target.open("ab") as stream:
        stream.truncate(-(-stream.tell() // _BLOCK) * _BLOCK)


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")
