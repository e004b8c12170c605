"""The only place of this package that starts processes. Every one has a time limit."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hostenv_core.errors import HostenvError
from hostenv_core.lines import one_line

_ERROR_CHARACTERS = 2000
_MAX_OUTPUT = 64 << 20
_KEPT_END = 1 << 16
_CHUNK_BYTES = 1 << 16
_LAST_WORDS = 1.0


@dataclass(frozen=True)
class Completed:
    """What a finished process left, as text; bytes that are not UTF-8 are replaced.

    Of `stderr` it is the end, 64 KiB at most.
    """

    returncode: int
    stdout: str
    stderr: str


class CommandFailed(HostenvError):
    """A program ended with another exit status than 0, or could not be started."""


class CommandTimedOut(CommandFailed):
    """A program was killed at its time limit."""


class OutputTooLong(CommandFailed):
    """A program was killed because it wrote more on standard output than it may."""


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    most: int = _MAX_OUTPUT,
    stdin: int | None = None,
    output: int | None = None,
    check: bool = True,
) -> Completed:
    """Run a program to its end; `env` is added to this process's environment.

    It reads the file descriptor `stdin`, by default nothing. It may write `most` bytes to standard output, or
    what it likes to the file descriptor `output` instead. At `timeout` seconds the program and all that it
    started are killed.
    Raises CommandTimedOut, OutputTooLong, and with `check` CommandFailed on an exit status other than 0.
    """
    deadline = time.monotonic() + timeout
    process = _start(argv, cwd, env, stdin, output)
    try:
        readers = [_Reader(process, process.stderr, None)]
        if output is None:
            readers.append(_Reader(process, process.stdout, most))
        for reader in readers:
            reader.join(max(0, deadline - time.monotonic()))
        if any(reader.too_long for reader in readers):
            raise OutputTooLong(f"{_name(argv)} wrote more than {most} bytes")
        if any(reader.is_alive() for reader in readers):
            raise CommandTimedOut(f"{_name(argv)} did not end within {timeout:.0f} s")
        try:
            returncode = process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise CommandTimedOut(f"{_name(argv)} did not end within {timeout:.0f} s") from None
    finally:
        _end(process)
        for reader in readers:
            # A process that left the group and holds the pipe must not hold the caller too.
            reader.join(_LAST_WORDS)
    stderr, stdout = [*(reader.content.decode("utf-8", "replace") for reader in readers), ""][:2]
    if check and returncode:
        detail = one_line((stderr or stdout)[-_ERROR_CHARACTERS:], _ERROR_CHARACTERS)
        raise CommandFailed(f"{_name(argv)} ended with status {returncode}: {detail or 'no output'}")
    return Completed(returncode, stdout, stderr)


class _Reader(threading.Thread):
    """Reads one stream of a process to its end.

    A process that writes more than `most` bytes is killed; with None it may, and the last ones are kept.
    """

    def __init__(self, process: subprocess.Popen[bytes], stream: IO[bytes] | None, most: int | None) -> None:
        super().__init__(daemon=True)
        assert stream is not None
        self._process = process
        self._stream = stream
        self._most = most
        self.content = bytearray()
        self.too_long = False
        self.start()

    def run(self) -> None:
        with self._stream:
            while chunk := os.read(self._stream.fileno(), _CHUNK_BYTES):
                self.content += chunk
                if self._most is None:
                    del self.content[:-_KEPT_END]
                elif len(self.content) > self._most:
                    self.too_long = True
                    _kill_group(self._process)
                    return


def _start(
    argv: Sequence[str],
    cwd: Path | None,
    env: Mapping[str, str] | None,
    stdin: int | None,
    output: int | None,
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE if output is None else output,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(
            f"cannot start {argv[0]}: {error.strerror}; check tools in provider.json"
        ) from error


def _end(process: subprocess.Popen[bytes]) -> None:
    _kill_group(process)
    process.wait()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # While the leader is not reaped the group's number is ours; it also names what the leader left behind.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _name(argv: Sequence[str]) -> str:
    return " ".join([os.path.basename(argv[0]), *argv[1:4]])
