"""What the demo asks of machines and of the driver of their script: the lab's, or NixOS' (`nixos.py`)."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class Machine(Protocol):
    """One machine; the methods are the NixOS test driver's."""

    @property
    def name(self) -> str:
        """As in the network."""

    def is_up(self) -> bool:
        """Whether it takes commands."""

    def succeed(self, *command: str) -> str:
        """Run commands that must succeed; returns their output. Raises the driver's own errors."""

    def execute(self, command: str, *, timeout: int | None) -> tuple[int, str]:
        """Run a command, at most so many seconds; returns its exit status and output. Raises MachineError."""


class Driver(Protocol):
    """What runs a script on the machines."""

    @property
    def machines(self) -> Sequence[Machine]:
        """All of them."""

    def run_script(self, path: Path, **replaced: object) -> None:
        """Run a script, with `replaced` in place of the driver's own names. Raises whatever it raises."""

    def subtest(self, name: str) -> AbstractContextManager[None]:
        """One stage of the script."""


class Machines(Protocol):
    """The machines of one run, while they exist."""

    @property
    def workdir(self) -> Path:
        """The run's folder."""

    @property
    def endpoints(self) -> Mapping[str, str]:
        """Where a machine's port answers on this host, by the port's name: `SCHEME://ADDRESS:PORT`."""

    @property
    def kind(self) -> str:
        """In words, what the machines are."""

    @property
    def driver(self) -> Driver:
        """Runs the script."""
