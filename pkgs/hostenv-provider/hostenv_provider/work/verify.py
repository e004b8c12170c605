"""The service's own HTTP check of an environment at its node's address (contract 7)."""

import http.client
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from hostenv_core.errors import HostenvError
from hostenv_core.states import JobState, Status

from hostenv_provider.plan.definitions import Check, Constraint
from hostenv_provider.plan.plan import Environment
from hostenv_provider.rules.stored import Target, Verification
from hostenv_provider.store.store import Store, utc_now

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_log = logging.getLogger(__name__)
_TIMEOUT = 10.0
_WHOLE_TIMEOUT = 30.0
_PAUSE = 1.0
_MAX_BODY = 1024 * 1024
_DEFAULT = (Constraint("minHttpStatus", 200), Constraint("maxHttpStatus", 399))
# With these a front door says that the application does not run.
_SILENT = frozenset({502, 503, 504})
WRONG_ANSWERS = 5
"""After this many wrong answers in a row the check has failed."""
PATIENCE = 20.0
"""Seconds that an application may be silent before its check makes way for a newer job of the project."""


@dataclass(frozen=True)
class Answer:
    """What a web server said; the body is cut at 1 MiB."""

    status: int
    body: bytes


@dataclass(frozen=True)
class Problem:
    """What is wrong with an environment; `definite` if it answered, and its answer breaks a constraint.

    Silence (no connection, a time-out, a front door that reaches no application) may only mean that the
    application is still starting.
    """

    text: str
    definite: bool


Fetch = Callable[[str, str, str], Answer]
"""Gets a path: address of the machine, virtual host, path. Raises OSError or http.client.HTTPException."""


def checks_of(environment: Environment) -> tuple[Check, ...]:
    """The environment's checks; without any, its canonical host must answer `/` with 200 to 399."""
    return environment.checks or (Check("front page", None, "/", _DEFAULT),)


def violation(check: Check, answer: Answer) -> str | None:
    """The first constraint that an answer breaks, in words; None if it keeps all."""
    for constraint in check.constraints:
        value = constraint.value
        match constraint.rule:
            case "minHttpStatus":
                broken = answer.status < int(value)
            case "maxHttpStatus":
                broken = answer.status > int(value)
            case _:
                broken = str(value).encode() not in answer.body
        if broken:
            return f"{constraint.rule} {value!r} is not met by the answer with status {answer.status}"
    return None


def problem(target: Target, fetch: Fetch) -> Problem | None:
    """Make every check of an environment once; what is wrong, or None."""
    for check in checks_of(target.environment):
        host = check.virtual_host or target.environment.hostname
        definite = False
        try:
            answer = fetch(target.address, host, check.path)
        except (OSError, http.client.HTTPException) as error:
            found: str | None = f"no answer: {error or type(error).__name__}"
        else:
            found = violation(check, answer)
            definite = answer.status not in _SILENT
        if found is not None:
            return Problem(f"{check.name} ({host}{check.path} at {target.address}): {found}", definite)
    return None


class _Timed(socket.socket):
    """A connection of which everything must have arrived by `deadline`, in however many pieces it comes."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        super().__init__(fileno=connected.detach())
        self._deadline = deadline

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int = 0, flags: int = 0) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"the answer takes longer than {_WHOLE_TIMEOUT:g} s")
        self.settimeout(min(left, _TIMEOUT))
        return super().recv_into(buffer, nbytes, flags)


def fetch(address: str, host: str, path: str, port: int = 80) -> Answer:
    """GET a path of a virtual host from the web server at `address`; redirects are not followed."""
    deadline = time.monotonic() + _WHOLE_TIMEOUT
    connection = http.client.HTTPConnection(address, port, timeout=_TIMEOUT)
    try:
        connection.connect()
        # Informational answers and headers come without end as well as a body does.
        connection.sock = _Timed(connection.sock, deadline)
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", host)
        connection.putheader("User-Agent", "hostenv-provider")
        connection.putheader("Connection", "close")
        connection.endheaders()
        response = connection.getresponse()
        body = b""
        while len(body) < _MAX_BODY and (chunk := response.read1(65536)):
            body += chunk
        return Answer(response.status, body)
    finally:
        connection.close()


class Verifier:
    """Makes every check that the store asks for, each in its own thread, until it passes or time is up."""

    def __init__(
        self,
        store: Store,
        limit: float,
        stop: threading.Event,
        fetch: Fetch = fetch,
        pause: float = _PAUSE,
        patience: float = PATIENCE,
    ) -> None:
        self._store = store
        self._limit = limit
        self._stop = stop
        self._fetch = fetch
        self._pause = pause
        self._patience = patience
        self._lock = threading.Lock()
        self._running: set[Verification] = set()

    def start_due(self) -> None:
        """Start those checks that are due and do not run yet."""
        for verification in self._store.verifiable():
            with self._lock:
                if verification in self._running:
                    continue
                self._running.add(verification)
            threading.Thread(target=self._run, args=(verification,), daemon=True).start()

    def _run(self, verification: Verification) -> None:
        try:
            self.verify(verification)
        except Exception:
            _log.exception("job %s: verify of %s", verification.job_id, verification.user)
        finally:
            with self._lock:
                self._running.discard(verification)

    def verify(self, verification: Verification) -> None:
        """Repeat one environment's check until it passes, it is given up, or its job has ended.

        It waits for a silent application until the limit, but accepts only a few wrong answers in a row.
        """
        job_id, user = verification.job_id, verification.user
        self._store.start_verification(job_id, user)
        try:
            target = self._store.target(job_id, user)
        except HostenvError as error:
            self._store.record_verification(job_id, user, Status.FAILED, str(error))
            return
        begun = time.monotonic()
        until = f"{utc_now() + timedelta(seconds=self._limit):%Y-%m-%dT%H:%M:%SZ}"
        wrong = 0
        while self._store.snapshot(job_id).state is JobState.WAITING:
            found = problem(target, self._fetch)
            if found is None:
                self._store.record_verification(job_id, user, Status.SUCCESS, None)
                return
            waited = time.monotonic() - begun
            wrong = wrong + 1 if found.definite else 0
            if wrong >= WRONG_ANSWERS or waited >= self._limit:
                often = f"{wrong} times in a row" if found.definite else f"for {self._limit:g} s"
                self._store.record_verification(job_id, user, Status.FAILED, f"{found.text}; {often}")
                return
            outlook = (
                f"gives up after {WRONG_ANSWERS} wrong answers in a row"
                if found.definite
                else f"gives up at {until}"
            )
            self._store.record_failed_check(
                job_id,
                user,
                found.text,
                outlook,
                yields=found.definite or waited >= self._patience,
            )
            if self._stop.wait(self._pause):
                return
