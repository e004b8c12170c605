"""Visitors of the site while it moves: some read its front page, some write notes, and all keep count."""

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from hostenv_demo.evidence import Outcome, Request, RequestKind
from hostenv_demo.names import MARKER
from hostenv_demo.site import Answer, Site

NOTE_PREFIX = "visitor"
# ten requests of each kind a second; a machine that is slower than that is left time for its own work
_PERIOD = 0.1
_SERVICE_UNAVAILABLE, _CREATED, _OK = 503, 201, 200

Report = Callable[[Request], None]


class Visitors:
    """Reads and writes about ten times a second between `start` and `stop`; `report` gets every request."""

    def __init__(self, endpoints: Mapping[str, str], report: Report) -> None:
        self._endpoints = endpoints
        self._report = report
        self._leave = threading.Event()
        self._threads: list[threading.Thread] = []
        # goes on when they come again: a note that was lost must not be taken for a later one
        self._written = itertools.count(1)

    def start(self) -> None:
        """Let them in, unless they are here."""
        if not self._threads:
            self._leave.clear()
            self._threads = [
                threading.Thread(target=self._visit, args=(kind,), name=f"visitors-{kind}", daemon=True)
                for kind in ("read", "write")
            ]
            for thread in self._threads:
                thread.start()

    def stop(self) -> None:
        """Wait until the last request has ended."""
        self._leave.set()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _visit(self, kind: RequestKind) -> None:
        site = Site(self._endpoints)
        while not self._leave.is_set():
            note = f"{NOTE_PREFIX} {next(self._written):06}" if kind == "write" else None
            began, clock = time.time(), time.monotonic()
            answer = _write(site, note) if note else site.request("GET", "/")
            seconds = time.monotonic() - clock
            self._report(
                Request(
                    began, kind, answer.node, answer.status, outcome(kind, answer), round(seconds, 4), note
                )
            )
            self._leave.wait(max(_PERIOD - seconds, min(seconds, 1.0)))


def outcome(kind: RequestKind, answer: Answer) -> Outcome:
    """What an answer means to who asked: a page is only right with the marker, a note only with 201."""
    if answer.node is None:
        return "unanswered"
    if answer.status == _SERVICE_UNAVAILABLE and answer.has("Retry-After"):
        return "refused"
    if kind == "write":
        return "ok" if answer.status == _CREATED else "failed"
    return "ok" if answer.status == _OK and MARKER.encode() in answer.body else "failed"


def _write(site: Site, note: str) -> Answer:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    return site.request("POST", "/notes", urlencode({"note": note}).encode(), form)
