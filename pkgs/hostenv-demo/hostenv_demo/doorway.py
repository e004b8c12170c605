"""The site at one address of this host, for a browser: whichever node serves it, no name to look up."""

import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from hostenv_core.errors import HostenvError

from hostenv_demo.site import Site

_ADDRESS, _FIRST_PORT, _TRIED_PORTS = "127.0.0.1", 8080, 200
_MOST_BYTES = 64 * 1024 * 1024
_TIMEOUT = 30
# they belong to one connection, not to the page
_NOT_PASSED = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "upgrade"}


class Doorway:
    """Serves the site at `url` while it is open. A context manager; making one raises HostenvError.

    `started` says whether the machines are up: one that boots keeps a visitor waiting.
    """

    def __init__(self, endpoints: Mapping[str, str], started: Callable[[], bool]) -> None:
        self.server = _bind(dict(endpoints), started)
        self._thread = threading.Thread(target=self.server.serve_forever, name="doorway", daemon=True)
        self.port = self.server.server_address[1]
        self.url = f"http://{_ADDRESS}:{self.port}"

    def __enter__(self) -> "Doorway":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, nodes: Mapping[str, str], started: Callable[[], bool]) -> None:
        self.nodes = nodes
        self.started = started
        super().__init__((_ADDRESS, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # a browser that goes away is no news, and the terminal is the wizard's
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def _bind(nodes: Mapping[str, str], started: Callable[[], bool]) -> _Server:
    for port in range(_FIRST_PORT, _FIRST_PORT + _TRIED_PORTS):
        try:
            return _Server(port, nodes, started)
        except OSError:
            continue
    raise HostenvError(f"no free port on {_ADDRESS} from {_FIRST_PORT} on: free one of them")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _TIMEOUT

    def _pass_on(self) -> None:
        if not self.server.started():
            self.send_error(503, explain="The machines have not started yet: go on in the wizard")
            return
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _MOST_BYTES:
            self.send_error(413)
            return
        given = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_PASSED}
        answer = Site(self.server.nodes).request(self.command, self.path, self.rfile.read(int(length)), given)
        if answer.node is None:
            self.send_error(502, explain="No node serves the site now: it is not deployed yet")
            return
        # with the node's own Server and Date
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            if name.lower() not in _NOT_PASSED:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

    def log_message(self, format: str, *arguments: object) -> None:
        """The page's own requests are no news."""
