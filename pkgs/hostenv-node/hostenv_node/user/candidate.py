"""Checking a new release before visitors see it, as the environment's user."""

import re
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hostenv_core import web
from hostenv_core.checks import Answer, Check

from hostenv_node.errors import OperationFailed
from hostenv_node.user import units
from hostenv_node.user.application import updates_wait
from hostenv_node.user.paths import clear, read_file
from hostenv_node.user.process import UserProcess

_WRONG_ANSWERS = 3
_PATIENCE_SECONDS = 120.0
_PAUSE_SECONDS = 1.0
_MAX_LOG = 1 << 16
_PHP_ERROR = re.compile(r"PHP (?:Parse|Fatal|Compile|Core|Recoverable) error: .*")


def check(
    process: UserProcess, release: str, hostname: str, checks: Sequence[Check], application: str
) -> None:
    """Start a release beside the one that is served, make the environment's checks, and stop it.

    Raises OperationFailed with what is wrong. A Drupal whose database waits for updates may fail here and
    work once it has them: then only the provider's own check decides.
    """
    unit, path = process.layout.candidate_unit, process.layout.candidate(release).socket
    try:
        units.start_anew(process, unit)
        found = _judge(hostname, checks, path)
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


def _judge(hostname: str, checks: Sequence[Check], path: Path) -> str | None:
    """Make the checks until they pass or are given up; what is wrong, or None.

    Only a few wrong answers in a row count as wrong; while there is no answer, it waits.
    """
    end = time.monotonic() + _PATIENCE_SECONDS
    wrong = 0
    while (problem := web.problem(checks, hostname, partial(_get, path))) is not None:
        wrong = wrong + 1 if problem.definite else 0
        if wrong >= _WRONG_ANSWERS or time.monotonic() >= end:
            return problem.text
        time.sleep(_PAUSE_SECONDS)
    return None


def _get(path: Path, host: str, target: str) -> Answer:
    """What the server at a socket answers as if the front door asked."""
    headers = {
        "Host": host,
        "User-Agent": "hostenv-node",
        "X-Real-IP": "127.0.0.1",
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": host,
        "X-Forwarded-Port": "80",
    }
    return web.get(web.UnixConnection(path, web.READ_SECONDS), target, headers)


def _php_error(log: Path) -> str:
    """PHP's first complaint that ends a request, if it wrote one."""
    try:
        text = (read_file(log) or b"")[:_MAX_LOG].decode("utf-8", "replace")
    except OperationFailed:
        return ""
    error = _PHP_ERROR.search(text)
    return f"; {error.group()}" if error is not None else ""
