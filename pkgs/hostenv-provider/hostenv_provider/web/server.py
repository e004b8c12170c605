"""HTTP over an AF_UNIX socket: one thread for each connection, so that a slow client delays nobody else."""

import contextlib
import logging
import os
import shutil
import socket
import socketserver
import stat
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from hostenv_core.errors import HostenvError

from hostenv_provider.store.database import DatabaseError
from hostenv_provider.web.messages import MAX_BODY, HttpAnswer, HttpError, HttpRequest

_log = logging.getLogger(__name__)
_READ_TIMEOUT = 30.0
_SAVE_TIMEOUT = 600.0
_CHUNK = 1 << 20
_MAX_LINE = 65536
_MAX_PARAMETERS = 50
# Requests with a body over MAX_BODY share this many threads, which limits their memory. The others wait for
# the seconds below, and their bodies in nginx's files: with its own thread, each would also keep its own
# memory.
_LARGE_AT_ONCE = 2
_LARGE_WAIT = 60.0
_DRAINED = 32 * 1024 * 1024
_DRAIN_TIME = 5.0

Answer = Callable[[HttpRequest], HttpAnswer]


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Listens with mode 0660 at `path` and lets `answer` handle every request."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, path: Path, answer: Answer) -> None:
        """Raises HostenvError if the socket cannot be made or another service listens on it."""
        self.answer = answer
        self._large = ThreadPoolExecutor(_LARGE_AT_ONCE, "large")
        self._path = path
        _remove_abandoned(path)
        try:
            # before the umask, which would leave a new folder that nobody but root can enter
            path.parent.mkdir(parents=True, exist_ok=True)
            umask = os.umask(0o117)
            try:
                super().__init__(str(path), _Handler)
            finally:
                os.umask(umask)
        except OSError as error:
            raise HostenvError(
                f"{path}: cannot listen there ({error}): correct socket in provider.json"
            ) from error

    def answer_large(self, request: HttpRequest) -> HttpAnswer:
        """What `answer` says, when it is the request's turn. Raises HttpError 503 if that takes too long."""
        future = self._large.submit(self.answer, request)
        try:
            return future.result(_LARGE_WAIT)
        except TimeoutError:
            if future.cancel():
                error = "too many large bodies at once: send it again"
                raise HttpError(503, error, {"Retry-After": f"{_LARGE_WAIT:.0f}"}) from None
            return future.result()

    def server_close(self) -> None:
        super().server_close()
        self._large.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        error = sys.exception()
        if not isinstance(error, (ConnectionError, TimeoutError)):
            _log.error("a connection failed", exc_info=error)


def _remove_abandoned(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostenvError(f"{path}: cannot be looked at ({error.strerror})") from error
    if not stat.S_ISSOCK(mode):
        raise HostenvError(
            f"{path}: exists and is not a socket: remove it or correct socket in provider.json"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise HostenvError(f"{path}: another service listens there: stop it first")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "hostenv-provider"
    sys_version = ""
    timeout = _READ_TIMEOUT
    server: Server

    def handle_one_request(self) -> None:
        self.close_connection = True
        self._unread = 0
        self._content: bytes | None = None
        self._continue = False
        self.raw_requestline = self.rfile.readline(_MAX_LINE + 1)
        if len(self.raw_requestline) > _MAX_LINE:
            self.send_error(414, "the address is too long")
            return
        if not self.raw_requestline or not self.parse_request():
            return
        try:
            answer = self._answer()
        except HttpError as error:
            self.close_connection = True
            answer = error.answer()
        self._content = None
        if self._unread:
            self.close_connection = True
        self._send(answer)
        if self._unread:
            self._drain()

    def _answer(self) -> HttpAnswer:
        try:
            address = urlsplit(self.path)
            query = dict(
                reversed(parse_qsl(address.query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS))
            )
        except ValueError:
            raise HttpError(400, "the address cannot be understood") from None
        self._unread = self._length()
        request = HttpRequest(
            method=self.command,
            path=address.path,
            query=query,
            headers={name.lower(): value for name, value in self.headers.items()},
            length=self._unread,
            body=self._body,
            save=self._save,
        )
        # What is put goes to a file as it comes.
        large = request.length > MAX_BODY and request.method != "PUT"
        try:
            return self.server.answer_large(request) if large else self.server.answer(request)
        except HostenvError as error:
            # A file of the service's own is damaged; where it is and what it says is for the operator alone.
            _log.error("hostenv-provider: %s %s: %s", request.method, request.path, error)
            raise HttpError(503, "not possible now; the service's log tells why") from error
        except DatabaseError as error:
            _log.exception("%s %s", request.method, request.path)
            raise HttpError(503, f"the database does not answer: {error}") from error
        except Exception as error:
            _log.exception("%s %s", request.method, request.path)
            raise HttpError(500, "internal error; the service's log tells more") from error

    def _length(self) -> int:
        if self.headers.get("Transfer-Encoding") is not None:
            raise HttpError(411, "give the body's length in Content-Length")
        lengths = self.headers.get_all("Content-Length", ["0"])
        if len(lengths) > 1:
            raise HttpError(400, "Content-Length is given twice")
        text = lengths[0].strip()
        if not (text.isascii() and text.isdigit()):
            raise HttpError(400, "Content-Length is not a number")
        if len(text) > 15:
            raise HttpError(413, "the body is too large")
        return int(text)

    def _body(self) -> bytes:
        if self._content is None:
            self._content = self._read_body()
        return self._content

    def _read_body(self) -> bytes:
        return b"".join(self._chunks(_READ_TIMEOUT))

    def _save(self, path: Path) -> None:
        with path.open("xb") as file:
            for chunk in self._chunks(_SAVE_TIMEOUT):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())

    def _chunks(self, seconds: float) -> Iterator[bytes]:
        if self._continue:
            self.send_response_only(100)
            self.end_headers()
        deadline = time.monotonic() + seconds
        while self._unread:
            # A client that sends a byte now and then must not hold its thread for ever.
            if time.monotonic() > deadline:
                raise HttpError(408, "the body did not arrive in time")
            chunk = self.rfile.read1(min(self._unread, _CHUNK))
            if not chunk:
                raise HttpError(400, "the body is shorter than Content-Length")
            self._unread -= len(chunk)
            yield chunk

    def _send(self, answer: HttpAnswer) -> None:
        if answer.file is not None:
            self._send_file(answer.file)
            return
        body = answer.body()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if body:
            self.send_header("Content-Type", "application/json")
        if answer.status != 204:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_file(self, path: Path) -> None:
        with path.open("rb") as file:
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(os.fstat(file.fileno()).st_size))
            self.end_headers()
            shutil.copyfileobj(file, self.wfile, _CHUNK)

    def _drain(self) -> None:
        # Closing with unread data would reset the connection, and the sender would not see the answer.
        deadline = time.monotonic() + _DRAIN_TIME
        left = _DRAINED
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            while left > 0 and time.monotonic() < deadline:
                chunk = self.connection.recv(65536)
                if not chunk:
                    break
                left -= len(chunk)

    def handle_expect_100(self) -> bool:
        # Said when the body is wanted.
        self._continue = True
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        # Called by the base class for requests that it cannot parse; all of them are the client's fault.
        self.close_connection = True
        if not hasattr(self, "command"):
            self.command = ""
        self.request_version = self.protocol_version
        self._send(HttpError(code if code < 500 else 400, message or "bad request").answer())

    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass

    def log_message(self, format: str, *args: object) -> None:
        pass
