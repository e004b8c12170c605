"""The only place of this package that starts processes. Every one has a time limit."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostenv_provider.errors import HostenvError

_ERROR_CHARACTERS = 2000


@dataclass(frozen=True)
class Limits:
    """What a process may use: address space in bytes, processor time in seconds."""

    memory: int
    processor_time: int


@dataclass(frozen=True)
class Completed:
    """What a finished process left, as text; bytes that are not UTF-8 are replaced."""

    returncode: int
    stdout: str
    stderr: str


class CommandFailed(HostenvError):
    """A program ended with another exit status than 0, or could not be started."""


class CommandTimedOut(CommandFailed):
    """A program was killed at its time limit."""


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
    limits: Limits | None = None,
    check: bool = True,
) -> Completed:
    """Run a program to its end; `env` is added to this process's environment.

    At `timeout` seconds the program and all that it started are killed.
    Raises CommandTimedOut, and with `check` CommandFailed on an exit status other than 0.
    """
    command = list(argv)
    if limits is not None:
        # The shell sets the limits, because code between fork and exec is not safe in a program with threads.
        script = f'ulimit -v {limits.memory // 1024} && ulimit -t {limits.processor_time} && exec "$@"'
        command = ["/bin/sh", "-c", script, "sh", *command]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(
            f"cannot start {argv[0]}: {error.strerror}; check tools in provider.json"
        ) from error
    try:
        stdout, stderr = process.communicate(stdin.encode(), timeout)
    except subprocess.TimeoutExpired:
        raise CommandTimedOut(f"{_name(argv)} did not end within {timeout:.0f} s") from None
    finally:
        _end(process)
    completed = Completed(
        process.returncode, stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace")
    )
    if check and completed.returncode:
        detail = " ".join((completed.stderr or completed.stdout).split())[-_ERROR_CHARACTERS:]
        raise CommandFailed(
            f"{_name(argv)} ended with status {completed.returncode}: {detail or 'no output'}"
        )
    return completed


def _end(process: subprocess.Popen[bytes]) -> None:
    # Not reaped yet, so the group's number is still ours; it also names children that the leader left behind.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _name(argv: Sequence[str]) -> str:
    return " ".join([os.path.basename(argv[0]), *argv[1:4]])
