"""What people see while the demo runs: stages with their seconds, and what is being waited for."""

import contextlib
import io
import os
import signal
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TextIO

from hostenv_lab.log import Event

from hostenv_demo.watch import Progress

_BOLD, _DIM, _GREEN, _YELLOW, _RED, _RESET = (
    "\x1b[1m",
    "\x1b[2m",
    "\x1b[32m",
    "\x1b[33m",
    "\x1b[31m",
    "\x1b[0m",
)
# A terminal's lines are redrawn; a file or a pipe gets a line only now and then.
_REDRAW_SECONDS = 0.5
_REPEAT_SECONDS = 15.0
# What ends sooner is not named: the stage is what is being waited for.
_WORTH_NAMING = 2.0
_BAR = 20
_TAIL_BYTES = 4096


class Console:
    """Shows the events of a run. Colours and redrawn lines only on a terminal that wants them.

    A context manager: while it is open a thread keeps saying what is being waited for, and for how long.
    `progress` is asked how far that is, where the length is known.
    """

    def __init__(
        self,
        stream: TextIO = sys.stdout,
        *,
        color: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
        self._live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._color = color and self._live and "NO_COLOR" not in os.environ
        self._clock = clock
        self._lock = threading.RLock()
        self._stage: tuple[str, float] | None = None
        self._waits: list[tuple[str, float]] = []
        self._lines_drawn = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep_showing, name="console", daemon=True)
        self.stages: list[tuple[str, float]] = []
        self.progress: Callable[[], Progress | None] = lambda: None
        self.logs: tuple[Path, ...] = ()

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
                    self._stage = (event.text, self._clock())
                    self.heading(f"== {event.text}")
                case "stage-end":
                    seconds = event.seconds or 0.0
                    self._stage = None
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

    @property
    def columns(self) -> int:
        """How wide the terminal is; 80 where there is none."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except OSError:
            return 80

    def heading(self, text: str) -> None:
        """A line that begins something."""
        self._print(self._paint(_BOLD, text))

    def info(self, text: str) -> None:
        """One line of what happens."""
        self._print(text)

    def error(self, text: str) -> None:
        """What went wrong; nothing is waited for any more."""
        with self._lock:
            self._waits.clear()
            self._stage = None
            self._print(self._paint(_RED, text))

    def success(self, text: str) -> None:
        """One line worth being seen."""
        self._print(self._paint(_GREEN, text))

    def ask(self, text: str) -> None:
        """The beginning of a line that a key will end."""
        with self._lock:
            self._erase()
            self._write(self._paint(_BOLD, text))

    def answered(self) -> None:
        """End the line of `ask`."""
        self._print("")

    def _keep_showing(self) -> None:
        while not self._closed.wait(_REDRAW_SECONDS if self._live else _REPEAT_SECONDS):
            with self._lock:
                waiting = self._waiting()
                if waiting:
                    self._show(*waiting)

    def _waiting(self) -> tuple[str, float] | None:
        now = self._clock()
        named = [(text, now - began) for text, began in self._waits if now - began >= _WORTH_NAMING]
        if named:
            return named[-1]
        return (self._stage[0], now - self._stage[1]) if self._stage else None

    def _show(self, what: str, seconds: float) -> None:
        progress = self.progress()
        if not self._live:
            self._write(f"   ... {wait_line(what, seconds, progress)}\n")
            return
        lines = [
            f"   {wait_line(what, seconds, progress)}",
            *(f"   {line}" for line in last_lines(self.logs)),
        ]
        width = self.columns - 1
        self._erase()
        self._write("\n".join(self._paint(_DIM, cut(line, width)) for line in lines))
        self._lines_drawn = len(lines)

    def _print(self, text: str) -> None:
        with self._lock:
            self._erase()
            self._write(text + "\n")

    def _erase(self) -> None:
        if self._lines_drawn:
            self._write("\r\x1b[K" + "\x1b[1A\x1b[K" * (self._lines_drawn - 1))
            self._lines_drawn = 0

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            # nobody reads it any more: the run ends as by Ctrl-C, and what is still said goes nowhere
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
            os.kill(os.getpid(), signal.SIGINT)

    def _paint(self, code: str, text: str) -> str:
        return f"{code}{text}{_RESET}" if self._color and text else text


def wait_line(what: str, seconds: float, progress: Progress | None) -> str:
    """What is being waited for, for how long, and how far it is."""
    first = what.strip().partition("\n")[0]
    if progress is None:
        return f"{seconds:3.0f} s  {first}"
    filled = _BAR * progress.done // progress.total
    now = progress.what.strip().partition("\n")[0]
    bar = "#" * filled + "." * (_BAR - filled)
    return f"{seconds:3.0f} s  [{bar}] {progress.done} of {progress.total} done, now: {now}"


def cut(line: str, cells: int) -> str:
    """The beginning of a line that takes at most so many cells of a terminal."""
    taken = 0
    for index, character in enumerate(line):
        wide = unicodedata.east_asian_width(character) in "WF"
        taken += 0 if unicodedata.combining(character) else 1 + wide
        if taken > cells:
            return line[:index]
    return line


def last_lines(logs: Sequence[Path]) -> list[str]:
    """The last line of each log that has one, without what would move a terminal's cursor."""
    found = []
    for path in logs:
        with contextlib.suppress(OSError), path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = stream.read().decode("utf-8", "replace").split("\n")
            shown = ["".join(filter(str.isprintable, line)).strip() for line in lines]
            if said := [line for line in shown if line]:
                found.append(f"{path.stem:<9} {said[-1]}")
    return found
