"""The daemon's control socket: a line of JSON asks, a line of JSON answers.

Calls are `{"call": "status"}`, answered with comin's state, and `{"call": "fetch"}`, answered with `{}` once
the fetch is asked for.
"""

from __future__ import annotations

import json
import socket
import socketserver
from collections.abc import Callable, Mapping
from pathlib import Path

from .config import Json
from .errors import CominError

LIMIT = 30
LONGEST_CALL = 4096

Calls = Mapping[str, Callable[[], Json]]


class Server(socketserver.ThreadingUnixStreamServer):
    """Answers on a socket that, as comin's, everybody who reaches its directory may use."""

    daemon_threads = True

    def __init__(self, path: Path, calls: Calls) -> None:
        self.calls = calls
        if path.exists() and self._answers(path):
            raise CominError(f"server: socket {path} already in use by another server")
        path.unlink(missing_ok=True)
        super().__init__(str(path), Handler)
        path.chmod(0o777)

    @staticmethod
    def _answers(path: Path) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(path)) == 0


class Handler(socketserver.StreamRequestHandler):
    """One connection, one call."""

    timeout = LIMIT
    server: Server

    def handle(self) -> None:
        try:
            call = self.server.calls[json.loads(self.rfile.readline(LONGEST_CALL))["call"]]
        except (ValueError, LookupError, TypeError):
            answer: Json = {"error": "unknown call"}
        else:
            answer = call()
        self.wfile.write(json.dumps(answer).encode() + b"\n")


def ask(path: Path, call: str) -> Json:
    """The daemon's answer; raises CominError when none comes."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(LIMIT)
            client.connect(str(path))
            client.sendall(json.dumps({"call": call}).encode() + b"\n")
            with client.makefile() as answers:
                answer: Json = json.loads(answers.readline())
    except (OSError, ValueError) as error:
        raise CominError(f"{path}: no answer from the daemon: {error}") from error
    return answer
