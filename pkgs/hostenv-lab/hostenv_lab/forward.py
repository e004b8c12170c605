"""Ports and sockets of the machines that answer on this host while the run goes on."""

import contextlib
import errno
import json
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hostenv_core.errors import HostenvError

from hostenv_lab.description import PortForward, SocketForward
from hostenv_lab.machine import BaseMachine
from hostenv_lab.network import Network

ENDPOINTS_FILE = "endpoints.json"
_TRIED_PORTS = 200
_CONNECT_TIMEOUT = 30.0
_PIECE = 64 * 1024

_Connect = Callable[[], socket.socket]


class Forwards:
    """All forwards of a run. `open` binds them, `close` ends them and every connection."""

    def __init__(self, workdir: Path) -> None:
        self._workdir = workdir
        self._listeners: list[socket.socket] = []
        self._paths: list[Path] = []
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False
        # name -> "SCHEME://ADDRESS:PORT" of a forwarded port
        self.endpoints: dict[str, str] = {}

    def open(
        self,
        ports: Sequence[PortForward],
        sockets: Sequence[SocketForward],
        machines: Mapping[str, BaseMachine],
        network: Network,
    ) -> None:
        """Bind every forward; a port in use gives way to the next free one. Raises HostenvError."""
        for port in ports:
            listener, number = _listen(port)
            self.endpoints[port.name] = f"{port.scheme}://{port.address}:{number}"
            machine = machines[port.machine]
            self._serve(listener, _connect_port(network, machine, port.guest_port))
        for forward in sockets:
            path = self._workdir / forward.path
            self._serve(
                self._listen_unix(path), _connect_socket(machines[forward.machine], forward.guest_path)
            )
        (self._workdir / ENDPOINTS_FILE).write_text(json.dumps(self.endpoints, indent=2) + "\n")

    def close(self) -> None:
        """End all of it."""
        with self._lock:
            self._closed = True
            open_sockets = [*self._listeners, *self._connections]
        for connection in open_sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for path in self._paths:
            path.unlink(missing_ok=True)

    def _listen_unix(self, path: Path) -> socket.socket:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # no moment in which others than the owner may connect
            previous = os.umask(0o177)
            try:
                listener.bind(str(path))
            finally:
                os.umask(previous)
            listener.listen()
        except OSError as error:
            listener.close()
            raise HostenvError(f"{path}: cannot listen there ({error.strerror or error})") from error
        self._paths.append(path)
        return listener

    def _serve(self, listener: socket.socket, connect: _Connect) -> None:
        self._listeners.append(listener)
        threading.Thread(target=self._accept, args=(listener, connect), daemon=True).start()

    def _accept(self, listener: socket.socket, connect: _Connect) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError as error:
                if error.errno == errno.ECONNABORTED:
                    continue
                return
            threading.Thread(target=self._join, args=(client, connect), daemon=True).start()

    def _join(self, client: socket.socket, connect: _Connect) -> None:
        with client:
            try:
                server = connect()
            except OSError:
                # what a visitor of a machine that is off would see
                return
            with server:
                with self._lock:
                    if self._closed:
                        return
                    self._connections |= {client, server}
                server.settimeout(None)
                back = threading.Thread(target=_copy, args=(server, client), daemon=True)
                back.start()
                _copy(client, server)
                back.join()
                with self._lock:
                    self._connections -= {client, server}


def _listen(forward: PortForward) -> tuple[socket.socket, int]:
    for port in range(forward.port, min(forward.port + _TRIED_PORTS, 65536)):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((forward.address, port))
            listener.listen()
        except OSError as error:
            listener.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise HostenvError(
                    f"cannot listen on {forward.address}:{port} for {forward.machine}: {error.strerror}"
                ) from error
        else:
            return listener, port
    raise HostenvError(
        f"no free port on {forward.address} from {forward.port} on for {forward.machine}: free one of them"
    )


def _connect_port(network: Network, machine: BaseMachine, port: int) -> _Connect:
    def connect() -> socket.socket:
        if not machine.is_up():
            # its address would answer after seconds of asking for it
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"{machine.name} is off")
        return network.connect(machine.number, port, _CONNECT_TIMEOUT)

    return connect


def _connect_socket(machine: BaseMachine, path: str) -> _Connect:
    return lambda: machine.open_unix(path)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    # the other direction may still have something to say
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
