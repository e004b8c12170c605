"""What a scenario needs of the driver that runs it: the NixOS test driver's names and the lab's have it."""

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Machine(Protocol):
    """A machine of either driver."""

    name: str

    def start(self, allow_reboot: bool = False) -> None: ...
    def crash(self) -> None: ...
    def block(self) -> None: ...
    def unblock(self) -> None: ...
    def execute(self, command: str) -> tuple[int, str]: ...
    def succeed(self, *command: str, timeout: int | None = None) -> str: ...
    def wait_until_succeeds(self, command: str, timeout: int = 900) -> str: ...
    def wait_for_unit(self, unit: str, user: str | None = None, timeout: int = 900) -> None: ...


class Log(Protocol):
    """The driver's log."""

    def info(self, text: str, /) -> None: ...
    def warning(self, text: str, /) -> None: ...


class Retry(Protocol):
    """Calls a function until it is true, in the end about once a second."""

    def __call__(self, fn: Callable[[bool], bool], timeout_seconds: int, /) -> None: ...


class Subtest(Protocol):
    """Groups commands under a name."""

    def __call__(self, name: str, /) -> AbstractContextManager[None]: ...


class ScenarioFailed(AssertionError):
    """The product did not do what a scenario demands."""


def quote(*words: str) -> str:
    """Words as one shell command."""
    return " ".join(shlex.quote(word) for word in words)
