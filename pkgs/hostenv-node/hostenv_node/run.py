"""The only place of this package that starts processes. Every one has a time limit."""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hostenv_node.errors import HostenvError

_ERROR_CHARACTERS = 4000


@dataclass(frozen=True)
class Completed:
    """What a finished process left."""

    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are not UTF-8 are replaced."""
        return self.stdout.decode("utf-8", "replace")


class CommandFailed(HostenvError):
    """A program ended with another exit status than 0, or could not be started."""


class CommandTimedOut(CommandFailed):
    """A program was killed at its time limit."""


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    stdin: bytes = b"",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> Completed:
    """Run a program to its end; `env` is added to this process's environment.

    At `timeout` seconds the program and all that it started are killed.
    Raises CommandTimedOut, and with `check` CommandFailed on an exit status other than 0.
    """
    process = _start(argv, subprocess.PIPE, subprocess.PIPE, cwd, env)
    try:
        stdout, stderr = process.communicate(stdin, timeout)
    except subprocess.TimeoutExpired:
        raise CommandTimedOut(f"{_name(argv)} did not end within {timeout:.0f} s") from None
    finally:
        _kill(process)
    completed = Completed(process.returncode, stdout, stderr)
    if check and completed.returncode:
        raise CommandFailed(_failure(argv, completed.returncode, stderr or stdout))
    return completed


def pipe(
    producer: Sequence[str],
    consumer: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
) -> Completed:
    """Run `producer | consumer`; both must end with 0. Returns what the consumer left.

    Raises CommandTimedOut or CommandFailed; the consumer's error first, for it usually breaks the pipe.
    """
    with tempfile.TemporaryFile() as complaints:
        source = _start(producer, subprocess.DEVNULL, complaints, None, env)
        try:
            sink = _start(consumer, source.stdout, subprocess.PIPE, None, env)
            try:
                assert source.stdout is not None
                source.stdout.close()
                stdout, stderr = sink.communicate(timeout=timeout)
                source.wait(timeout)
            except subprocess.TimeoutExpired:
                raise CommandTimedOut(f"{_name(consumer)} did not end within {timeout:.0f} s") from None
            finally:
                _kill(sink)
        finally:
            _kill(source)
        if sink.returncode:
            raise CommandFailed(_failure(consumer, sink.returncode, stderr or stdout))
        if source.returncode:
            complaints.seek(0)
            raise CommandFailed(_failure(producer, source.returncode, complaints.read()))
    return Completed(0, stdout, stderr)


def _start(
    argv: Sequence[str],
    stdin: int | IO[bytes] | None,
    stderr: int | IO[bytes],
    cwd: Path | None,
    env: Mapping[str, str] | None,
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(f"cannot start {argv[0]}: {error.strerror}; check tools in node.json") from error


def _kill(process: subprocess.Popen[bytes]) -> None:
    # Not reaped yet, so the group's number is still ours; it also names children the leader left behind.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _name(argv: Sequence[str]) -> str:
    return " ".join(argv[:6])


def _failure(argv: Sequence[str], returncode: int, output: bytes) -> str:
    detail = output.decode("utf-8", "replace").strip()[-_ERROR_CHARACTERS:]
    return f"{_name(argv)} ended with status {returncode}: {detail or 'no output'}"
