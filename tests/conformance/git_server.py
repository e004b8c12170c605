"""A Git server on loopback: smart HTTP with Basic authentication, as the provider's nginx offers it."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class GitServer(ThreadingHTTPServer):
    """Serves the repositories below a directory to one user; `available` False answers 503 to everything."""

    daemon_threads = True

    def __init__(self, directory: Path, user: str, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.directory = directory
        self.expected = "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()
        self.available = True
        self.first_request: float | None = None
        program = subprocess.run(
            ["git", "--exec-path"], capture_output=True, text=True, check=True, timeout=30
        )
        self.backend = Path(program.stdout.strip()) / "git-http-backend"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, repository: str) -> str:
        """Where a repository is."""
        return f"http://127.0.0.1:{self.server_port}/{repository}"


class _Handler(BaseHTTPRequestHandler):
    server: GitServer

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the test's output free of requests."""

    def _answer(self) -> None:
        self.server.first_request = self.server.first_request or time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.server.available:
            self.send_error(503)
        elif self.headers.get("Authorization") != self.server.expected:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
        else:
            self._run_backend(body)

    def _run_backend(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.server.directory),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(
            [self.server.backend], input=body, env=environment, capture_output=True, check=True, timeout=60
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
