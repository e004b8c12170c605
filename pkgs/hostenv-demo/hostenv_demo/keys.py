"""One key from the terminal."""

import os
import sys
import termios
import tty
from collections.abc import Callable

from hostenv_core.errors import HostenvError


def check() -> None:
    """Raises HostenvError unless somebody can press keys."""
    try:
        there = sys.stdin is not None and sys.stdin.isatty()
    except ValueError:
        there = False
    if not there:
        raise HostenvError(
            "the wizard asks before each stage, and standard input is not a terminal;"
            " start it in one, or run ./run-demo.sh --automated"
        )


def read(ask: Callable[[], None]) -> str:
    """Ask, and wait for a key. What was typed before is forgotten; Ctrl-C interrupts.

    Raises HostenvError if the terminal goes away.
    """
    terminal = sys.stdin.fileno()
    try:
        before = termios.tcgetattr(terminal)
        try:
            tty.setcbreak(terminal, termios.TCSAFLUSH)
            ask()
            key = os.read(terminal, 1)
            # the rest of an arrow key's sequence is no key of its own
            termios.tcflush(terminal, termios.TCIFLUSH)
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
    except (OSError, termios.error) as error:
        raise HostenvError(f"the terminal went away: {error}") from error
    if not key:
        raise HostenvError("the terminal went away; start the demo again")
    return key.decode("ascii", "replace")
