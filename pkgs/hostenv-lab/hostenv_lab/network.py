"""The network of a run: a namespace of its own with one bridge; the host's network stays as it is."""

import ctypes
import json
import os
import socket
import subprocess
import threading
from pathlib import Path

from hostenv_core import processes

from hostenv_lab import run
from hostenv_lab.cgroup import ControlGroup

BRIDGE = "br0"
# The NixOS test driver's addresses: 192.168.<vlan>.<position among the sorted names>.
_PREFIX = "192.168.1."
_HOST = 254
_CLONE_NEWNET = 0x40000000
_TIMEOUT = 30
# The namespace has no name and lives as long as this process, which the run's control group holds.
_HOLDER = ["unshare", "--net", "/bin/sh", "-c", "echo; exec sleep infinity"]


def address(number: int) -> str:
    """The address of the machine with this number, counted from 1."""
    return f"{_PREFIX}{number}"


HOST_ADDRESS = address(_HOST)


class Network:
    """A network namespace with a bridge. It ends with the control group that it is opened in."""

    def __init__(self, holder: subprocess.Popen[bytes]) -> None:
        self._holder = holder

    @classmethod
    def open(cls, group: ControlGroup) -> "Network":
        """Make the namespace and its bridge. Raises HostenvError."""
        holder = processes.start(run.in_groups(group.open("network"), _HOLDER), stderr=subprocess.DEVNULL)
        assert holder.stdout is not None
        if not holder.stdout.readline():
            processes.kill(holder)
            raise processes.CommandFailed(
                "cannot make a network namespace: this kernel or container forbids it"
            )
        network = cls(holder)
        network._ip("link", "set", "lo", "up")
        network._ip("link", "add", BRIDGE, "type", "bridge")
        network._ip("address", "add", f"{HOST_ADDRESS}/24", "dev", BRIDGE)
        network._ip("link", "set", BRIDGE, "up")
        return network

    def close(self) -> None:
        """Let the namespace go, with all links in it."""
        processes.kill(self._holder)

    @property
    def path(self) -> Path:
        """The file that `nsenter --net=` takes."""
        return Path(f"/proc/{self._holder.pid}/ns/net")

    def add_tap(self, interface: str) -> None:
        """Add an interface that a QEMU process opens, joined to the bridge. Raises CommandFailed."""
        self._ip("tuntap", "add", "dev", interface, "mode", "tap")
        self._ip("link", "set", interface, "master", BRIDGE, "up")

    def interface(self, index: int) -> str:
        """The name of an interface by its number. Raises CommandFailed."""
        for link in json.loads(self._ip("-json", "link", "show")):
            if link["ifindex"] == index:
                return str(link["ifname"])
        raise processes.CommandFailed(f"no interface {index} in the run's network")

    def set_link(self, interface: str, up: bool) -> None:
        """Take the cable out of a machine, or put it back. Raises CommandFailed."""
        self._ip("link", "set", interface, "up" if up else "down")

    def enter(self, argv: list[str]) -> list[str]:
        """The command line that runs `argv` in this network."""
        return ["nsenter", f"--net={self.path}", *argv]

    def connect(self, number: int, port: int, timeout: float) -> socket.socket:
        """Connect to a port of the machine with this number. Raises OSError."""
        connection = self._socket()
        try:
            connection.settimeout(timeout)
            connection.connect((address(number), port))
        except BaseException:
            connection.close()
            raise
        return connection

    def _socket(self) -> socket.socket:
        # A socket belongs to the namespace of the thread that made it; the thread's own ends with it.
        made: list[socket.socket | OSError] = []

        def make() -> None:
            try:
                namespace = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
                        code = ctypes.get_errno()
                        raise OSError(code, os.strerror(code))
                finally:
                    os.close(namespace)
                made.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            except OSError as error:
                made.append(error)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        result = made[0]
        if isinstance(result, OSError):
            raise result
        return result

    def _ip(self, *arguments: str) -> str:
        return run.run(self.enter(["ip", *arguments]), timeout=_TIMEOUT).stdout.decode()
