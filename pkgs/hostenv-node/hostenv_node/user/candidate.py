"""Checking a new release before visitors see it, as the environment's user."""

import http.client
import re
import socket
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from hostenv_node.environment.checks import Check, is_silent, violation
from hostenv_node.errors import OperationFailed
from hostenv_node.user import units
from hostenv_node.user.application import updates_wait
from hostenv_node.user.paths import clear, read_file
from hostenv_node.user.process import UserProcess

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_WRONG_ANSWERS = 3
_PATIENCE_SECONDS = 120.0
_PAUSE_SECONDS = 1.0
_READ_SECONDS = 10.0
_ANSWER_SECONDS = 30.0
_MAX_BODY = 1 << 20
_MAX_LOG = 1 << 16
_PHP_ERROR = re.compile(r"PHP (?:Parse|Fatal|Compile|Core|Recoverable) error: .*")


def check(process: UserProcess, release: str, checks: Sequence[Check], application: str) -> None:
    """Start a release beside the one that is served, make the environment's checks, and stop it.

    Raises OperationFailed with what is wrong. A Drupal whose database waits for updates may fail here and
    work once it has them: then only the provider's own check decides.
    """
    unit, path = process.layout.candidate_unit, process.layout.candidate(release).socket
    try:
        units.start_anew(process, unit)
        found = _judge(checks, path)
        if found is not None:
            found += _php_error(process.layout.candidate_log)
    finally:
        process.systemctl("stop", unit, check=False)
        clear(process, process.layout.candidate_log)
    if found is None:
        return
    if application == "drupal" and updates_wait(process, release):
        return
    raise OperationFailed(f"the new release is not served, for it does not pass its check: {found}")


def _judge(checks: Sequence[Check], path: Path) -> str | None:
    """Make the checks until they pass or are given up; what is wrong, or None.

    Only a few wrong answers in a row count as wrong; while there is no answer, it waits.
    """
    end = time.monotonic() + _PATIENCE_SECONDS
    wrong = 0
    while (problem := _problem(checks, path)) is not None:
        text, definite = problem
        wrong = wrong + 1 if definite else 0
        if wrong >= _WRONG_ANSWERS or time.monotonic() >= end:
            return text
        time.sleep(_PAUSE_SECONDS)
    return None


def _problem(checks: Sequence[Check], path: Path) -> tuple[str, bool] | None:
    for each in checks:
        definite = False
        try:
            status, body = _get(path, each.host, each.path)
        except (OSError, http.client.HTTPException) as error:
            found: str | None = f"no answer: {error or type(error).__name__}"
        else:
            found = violation(each, status, body)
            definite = not is_silent(status)
        if found is not None:
            return f"{each.name} ({each.host}{each.path}): {found}", definite
    return None


class _Timed(socket.socket):
    """A connection of which everything must have arrived by `deadline`, in however many pieces it comes."""

    def __init__(self, deadline: float) -> None:
        super().__init__(socket.AF_UNIX)
        self._deadline = deadline
        self.settimeout(_READ_SECONDS)

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int = 0, flags: int = 0) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"the answer takes longer than {_ANSWER_SECONDS:g} s")
        self.settimeout(min(left, _READ_SECONDS))
        return super().recv_into(buffer, nbytes, flags)


def _get(path: Path, host: str, target: str) -> tuple[int, bytes]:
    """Status and body, cut at 1 MiB, of what the server at a socket answers as if the front door asked."""
    with closing(http.client.HTTPConnection(host)) as connection:
        connection.sock = _Timed(time.monotonic() + _ANSWER_SECONDS)
        connection.sock.connect(str(path))
        connection.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
        for name, value in (
            ("Host", host),
            ("User-Agent", "hostenv-node"),
            ("Connection", "close"),
            ("X-Real-IP", "127.0.0.1"),
            ("X-Forwarded-For", "127.0.0.1"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Host", host),
            ("X-Forwarded-Port", "80"),
        ):
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        body = b""
        while len(body) < _MAX_BODY and (chunk := response.read1(1 << 16)):
            body += chunk
        return response.status, body


def _php_error(log: Path) -> str:
    """PHP's first complaint that ends a request, if it wrote one."""
    try:
        text = (read_file(log) or b"")[:_MAX_LOG].decode("utf-8", "replace")
    except OperationFailed:
        return ""
    error = _PHP_ERROR.search(text)
    return f"; {error.group()}" if error is not None else ""
