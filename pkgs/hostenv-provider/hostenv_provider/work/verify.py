"""The service's own HTTP check of an environment at its node's address (contract 7)."""

import http.client
import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from hostenv_core import web
from hostenv_core.checks import Answer
from hostenv_core.errors import HostenvError
from hostenv_core.states import JobState, Status
from hostenv_core.web import Problem

from hostenv_provider.rules.stored import Target, Verification
from hostenv_provider.store.store import Store, utc_now

_log = logging.getLogger(__name__)
_PAUSE = 1.0
WRONG_ANSWERS = 5
"""After this many wrong answers in a row the check has failed."""
PATIENCE = 20.0
"""Seconds that an application may be silent before its check makes way for a newer job of the project."""


Fetch = Callable[[str, str, str], Answer]
"""Gets a path: address of the machine, virtual host, path. Raises OSError or http.client.HTTPException."""


def problem(target: Target, fetch: Fetch) -> Problem | None:
    """Make every check of an environment once; what is wrong, or None."""
    environment, address = target.environment, target.address
    return web.problem(environment.checks, environment.hostname, partial(fetch, address), f" at {address}")


def fetch(address: str, host: str, path: str, port: int = 80) -> Answer:
    """GET a path of a virtual host from the web server at `address`; redirects are not followed."""
    connection = http.client.HTTPConnection(address, port, timeout=web.READ_SECONDS)
    return web.get(connection, path, {"Host": host, "User-Agent": "hostenv-provider"})


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
