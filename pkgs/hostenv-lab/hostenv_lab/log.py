"""What a run says while it goes on: to its log file and to whoever started it."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["stage", "stage-end", "begin", "end", "info", "warning", "output"]


@dataclass(frozen=True)
class Event:
    """One thing that happened. `seconds` is how long it took, for the kinds that end something.

    `stage`: a subtest; `begin`: something that may take long; `output`: a line that a machine's command
    wrote to its standard error.
    """

    kind: Kind
    text: str
    seconds: float | None = None


Sink = Callable[[Event], None]


class Log:
    """The `log` of a testScript; usable from several threads."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks
        self._lock = threading.Lock()

    def info(self, text: str) -> None:
        """Say something."""
        self.emit(Event("info", text))

    def warning(self, text: str) -> None:
        """Say something that needs attention; the test goes on."""
        self.emit(Event("warning", text))

    @contextlib.contextmanager
    def nested(self, text: str) -> Iterator[None]:
        """Say that something begins, and how long it took when it has ended well."""
        with self._span("begin", "end", text):
            yield

    @contextlib.contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """The same for a subtest."""
        with self._span("stage", "stage-end", text):
            yield

    def emit(self, event: Event) -> None:
        """Hand an event to every sink, one event at a time."""
        with self._lock:
            for sink in self._sinks:
                sink(event)

    @contextlib.contextmanager
    def _span(self, begin: Kind, end: Kind, text: str) -> Iterator[None]:
        started = time.monotonic()
        self.emit(Event(begin, text))
        yield
        self.emit(Event(end, text, time.monotonic() - started))


def line(event: Event) -> str:
    """An event as one or more lines of a log."""
    if event.seconds is None:
        mark = {"stage": "== ", "warning": "warning: "}.get(event.kind, "")
        return f"{mark}{event.text}"
    return f"(finished: {event.text}, in {event.seconds:.2f} seconds)"


class FileSink:
    """Appends every event, with the time since the run began, to a file."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("a", encoding="utf-8", buffering=1)
        self._started = time.monotonic()

    def __call__(self, event: Event) -> None:
        self._stream.write(f"{time.monotonic() - self._started:8.2f} {line(event)}\n")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
