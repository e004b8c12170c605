"""A person at a terminal of 80 columns: starts the wizard, reads what it shows, presses keys."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
PROMPT = "a aborts and cleans up: "
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Terminal:
    """What the wizard has written so far, and its process."""

    def __init__(self, pid: int, master: int, folder: Path) -> None:
        self.pid = pid
        self.folder = folder
        self._master = master
        self.raw = ""
        self._read = 0
        self._status: int | None = None

    def press(self, key: str) -> None:
        """Press one key."""
        os.write(self._master, key.encode())

    def until(self, text: str, seconds: float = 900) -> str:
        """Read until the terminal has shown `text`; returns what it showed since the last call."""
        limit = time.monotonic() + seconds
        while (found := self.raw.find(text, self._read)) < 0:
            assert time.monotonic() < limit, f"no {text!r} in:\n{self.raw[self._read :]}"
            assert self._more(1.0), f"the wizard ended without {text!r}:\n{self.raw[self._read :]}"
        end = found + len(text)
        shown, self._read = self.raw[self._read : end], end
        return _ESCAPES.sub("", shown).replace("\r", "")

    def interrupt(self) -> None:
        """Press Ctrl-C, wherever the wizard is."""
        self.press("\x03")

    def exit_status(self, seconds: float = 180) -> int:
        """Wait for the end."""
        limit = time.monotonic() + seconds
        while self._more(0.2):
            assert time.monotonic() < limit, f"still running:\n{self.raw[-2000:]}"
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status

    def hang_up(self) -> None:
        """Close the terminal, and wait for the wizard's end."""
        os.close(self._master)
        self._master = -1
        self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        """End the wizard if it still runs."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
            self.exit_status()
        if self._master >= 0:
            os.close(self._master)

    def _more(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return True
        try:
            piece = os.read(self._master, 65536)
        except OSError:
            # what Linux says when nobody has the other side open any more
            return False
        self.raw += piece.decode("utf-8", "replace")
        return bool(piece)


def wizard(folder: Path, arguments: Sequence[str]) -> contextlib.AbstractContextManager[Terminal]:
    """`run-demo.sh` in a terminal, started in `folder`."""
    return terminal(folder, [str(REPOSITORY / "run-demo.sh"), *arguments])


@contextlib.contextmanager
def terminal(folder: Path, command: Sequence[str], **environment: str) -> Iterator[Terminal]:
    """A program in a terminal, started in `folder`."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execve(command[0], list(command), {**os.environ, "TERM": "xterm", **environment})
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    found = Terminal(pid, master, folder)
    try:
        yield found
    finally:
        found.close()
