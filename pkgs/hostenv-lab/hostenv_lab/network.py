"""The network of a run: a namespace of its own with one bridge; the host's network stays as it is."""

import ctypes
import json
import os
import socket
import threading
from pathlib import Path

from hostenv_lab import run

BRIDGE = "br0"
# The NixOS test driver's addresses: 192.168.<vlan>.<position among the sorted names>.
_PREFIX = "192.168.1."
_HOST = 254
_CLONE_NEWNET = 0x40000000
_TIMEOUT = 30


def address(number: int) -> str:
    """The address of the machine with this number, counted from 1."""
    return f"{_PREFIX}{number}"


HOST_ADDRESS = address(_HOST)


class Network:
    """A named network namespace. `open` makes it, `close` removes it with all links in it."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def path(self) -> Path:
        """The file that `nsenter --net=` takes."""
        return Path("/run/netns") / self.name

    def open(self) -> None:
        """Make the namespace and its bridge. Raises CommandFailed."""
        _ip("netns", "add", self.name)
        self._ip("link", "set", "lo", "up")
        self._ip("link", "add", BRIDGE, "type", "bridge")
        self._ip("address", "add", f"{HOST_ADDRESS}/24", "dev", BRIDGE)
        self._ip("link", "set", BRIDGE, "up")

    def close(self) -> None:
        """Remove the namespace if it is there. Raises CommandFailed."""
        if self.path.exists():
            _ip("netns", "delete", self.name)

    def add_tap(self, interface: str) -> None:
        """Add an interface that a QEMU process opens, joined to the bridge. Raises CommandFailed."""
        self._ip("tuntap", "add", "dev", interface, "mode", "tap")
        self._ip("link", "set", interface, "master", BRIDGE, "up")

    def interface(self, index: int) -> str:
        """The name of an interface by its number. Raises CommandFailed."""
        links = json.loads(self._ip("-json", "link", "show"))
        for link in links:
            if link["ifindex"] == index:
                return str(link["ifname"])
        raise run.CommandFailed(f"no interface {index} in the namespace {self.name}")

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
        # A socket belongs to the namespace of the thread that made it, and a thread's namespace ends with it.
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
        return _ip("-netns", self.name, *arguments)


def _ip(*arguments: str) -> str:
    return run.run(["ip", *arguments], timeout=_TIMEOUT).stdout.decode()
