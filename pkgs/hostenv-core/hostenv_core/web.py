"""HTTP within limits, also over a Unix socket, and the checks of a site, which use it."""

import http.client
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hostenv_core.checks import FRONT_PAGE, Answer, Check, violation

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

READ_SECONDS = 10.0
"""The longest silence within an answer."""
_ANSWER_SECONDS = 30.0
_MAX_BODY = 1 << 20


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the socket at a path."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("service", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _Timed(socket.socket):
    """A connection of which everything must have arrived by `deadline`, in however many pieces it comes."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        super().__init__(fileno=connected.detach())
        self._deadline = deadline

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int = 0, flags: int = 0) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"the answer takes longer than {_ANSWER_SECONDS:g} s")
        self.settimeout(min(left, READ_SECONDS))
        return super().recv_into(buffer, nbytes, flags)


def get(connection: http.client.HTTPConnection, target: str, headers: Mapping[str, str]) -> Answer:
    """The answer to a request with these headers, `Host` among them; redirects are not followed.

    Raises OSError and http.client.HTTPException, also after 30 s.
    """
    deadline = time.monotonic() + _ANSWER_SECONDS
    with closing(connection):
        connection.connect()
        # Informational answers and headers come without end as well as a body does.
        connection.sock = _Timed(connection.sock, deadline)
        connection.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
        for name, value in {**headers, "Connection": "close"}.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        body = b""
        while len(body) < _MAX_BODY and (chunk := response.read1(1 << 16)):
            body += chunk
        return Answer(response.status, body)


@dataclass(frozen=True)
class Problem:
    """What is wrong with an environment; `definite` if it answered, and its answer breaks a constraint.

    Silence (no connection, a time-out, a server that reaches no application) may only mean that the
    application is still starting.
    """

    text: str
    definite: bool


def problem(
    checks: Sequence[Check], hostname: str, ask: Callable[[str, str], Answer], place: str = ""
) -> Problem | None:
    """Make the checks of an environment once, `FRONT_PAGE` if it has none; what is wrong, or None.

    `ask` gets a path of a virtual host, and raises what `get` does. `place` says where, in words.
    """
    for check in checks or (FRONT_PAGE,):
        host = check.virtual_host or hostname
        definite = False
        try:
            answer = ask(host, check.path)
        except (OSError, http.client.HTTPException) as error:
            found: str | None = f"no answer: {error or type(error).__name__}"
        else:
            found = violation(check, answer)
            definite = not answer.is_silence
        if found is not None:
            return Problem(f"{check.name} ({host}{check.path}{place}): {found}", definite)
    return None
