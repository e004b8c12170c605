"""What people see while the demo runs: stages with their seconds, and what is being waited for."""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Self, TextIO

from hostenv_lab.log import Event

_BOLD, _DIM, _GREEN, _YELLOW, _RED, _RESET = (
    "\x1b[1m",
    "\x1b[2m",
    "\x1b[32m",
    "\x1b[33m",
    "\x1b[31m",
    "\x1b[0m",
)
# A terminal's line is redrawn; a file or a pipe gets a line only now and then.
_REDRAW_SECONDS = 1.0
_REPEAT_SECONDS = 15.0


class Console:
    """Shows the events of a run. Colours and redrawn lines only on a terminal that wants them.

    A context manager: while it is open a thread keeps saying what is being waited for, and for how long.
    """

    def __init__(
        self,
        stream: TextIO = sys.stdout,
        *,
        color: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._color = color and self._live and "NO_COLOR" not in os.environ
        self._clock = clock
        self._lock = threading.RLock()
        self._waits: list[tuple[str, float]] = []
        self._line_drawn = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep_showing, name="console", daemon=True)
        self.stages: list[tuple[str, float]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()
        self._erase()

    def __call__(self, event: Event) -> None:
        """Show an event of the lab."""
        with self._lock:
            match event.kind:
                case "stage":
                    self._waits.clear()
                    self._print(self._paint(_BOLD, f"== {event.text}"))
                case "stage-end":
                    seconds = event.seconds or 0.0
                    self.stages.append((event.text, seconds))
                    self._print(self._paint(_DIM, f"   {seconds:.1f} s"))
                case "begin":
                    self._waits.append((event.text, self._clock()))
                case "end":
                    self._waits = [wait for wait in self._waits if wait[0] != event.text]
                case "warning":
                    self._print(self._paint(_YELLOW, f"   {event.text}"))
                case "info":
                    self._print(f"   {event.text}")
                case "output":
                    # it is in the logs; a person follows the stages
                    pass

    def info(self, text: str) -> None:
        """One line of what happens."""
        self._print(text)

    def error(self, text: str) -> None:
        """What went wrong."""
        self._print(self._paint(_RED, text))

    def success(self, text: str) -> None:
        """One line worth being seen."""
        self._print(self._paint(_GREEN, text))

    def _keep_showing(self) -> None:
        while not self._closed.wait(_REDRAW_SECONDS if self._live else _REPEAT_SECONDS):
            with self._lock:
                if self._waits:
                    self._show_wait(*self._waits[-1])

    def _show_wait(self, what: str, start: float) -> None:
        text = f"   ... {_first_line(what)} ({self._clock() - start:.0f} s)"
        if self._live:
            self._stream.write(f"\r\x1b[K{self._paint(_DIM, text[: _columns(self._stream) - 1])}")
            self._line_drawn = True
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def _print(self, text: str) -> None:
        with self._lock:
            self._erase()
            self._stream.write(text + "\n")
            self._stream.flush()

    def _erase(self) -> None:
        if self._line_drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._line_drawn = False

    def _paint(self, code: str, text: str) -> str:
        return f"{code}{text}{_RESET}" if self._color else text


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except OSError:
        return 80
