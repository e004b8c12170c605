"""The only place of this package that starts processes. Every one has a time limit."""

import contextlib
import io
import os
import select
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from hostenv_core.errors import HostenvError
from hostenv_core.lines import last_lines

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# So that a message that begins with the program's name is not cut where it is handed on.
_ERROR_CHARACTERS = 3000
_MAX_OUTPUT = 16 << 20
_KEPT_END = 1 << 16
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Completed:
    """What a finished process left; of `stderr` the end, 64 KiB at most."""

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


class OutputTooLong(CommandFailed):
    """A program was killed because it wrote more on standard output than anybody reads here."""


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    stdin: bytes = b"",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    whole: bool = True,
) -> Completed:
    """Run a program to its end; `env` is added to this process's environment.

    Without `whole` only the end of standard output is kept too, however much the program writes.
    At `timeout` seconds the program and all that it started are killed.
    Raises CommandTimedOut, OutputTooLong, and with `check` CommandFailed on an exit status other than 0.
    """
    deadline = time.monotonic() + timeout
    process = _start(argv, subprocess.PIPE, subprocess.PIPE, cwd, env)
    try:
        stdout, stderr = _communicate(process, argv, stdin, deadline, whole=whole)
        process.wait(max(0, deadline - time.monotonic()))
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

    Raises CommandTimedOut, OutputTooLong or CommandFailed; the consumer's error first, because it usually
    breaks the pipe.
    """
    deadline = time.monotonic() + timeout
    with tempfile.TemporaryFile() as complaints:
        source = _start(producer, subprocess.DEVNULL, complaints, None, env)
        try:
            sink = _start(consumer, source.stdout, subprocess.PIPE, None, env)
            try:
                assert source.stdout is not None
                source.stdout.close()
                stdout, stderr = _communicate(sink, consumer, b"", deadline, whole=True)
                for process in (sink, source):
                    process.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise CommandTimedOut(f"{_name(consumer)} did not end within {timeout:.0f} s") from None
            finally:
                _kill(sink)
        finally:
            _kill(source)
        if sink.returncode:
            raise CommandFailed(_failure(consumer, sink.returncode, stderr or stdout))
        if source.returncode:
            raise CommandFailed(_failure(producer, source.returncode, _end_of(complaints)))
    return Completed(0, stdout, stderr)


@contextlib.contextmanager
def reading(argv: Sequence[str], *, timeout: float, stdin: bytes = b"") -> Iterator[IO[bytes]]:
    """Run a program and give its output as it comes; the block reads it to its end or raises.

    Raises CommandTimedOut, in the block where it reads, and CommandFailed when it does not end with 0.
    """
    deadline = time.monotonic() + timeout
    with tempfile.TemporaryFile() as complaints, open(os.memfd_create("stdin"), "w+b") as given:
        given.write(stdin)
        given.seek(0)
        process = _start(argv, given, complaints, None, None)
        try:
            assert process.stdout is not None
            yield io.BufferedReader(_Stream(process.stdout.fileno(), argv, deadline), _CHUNK_BYTES)
            process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise CommandTimedOut(f"{_name(argv)} did not end in time") from None
        finally:
            _kill(process)
        if process.returncode:
            raise CommandFailed(_failure(argv, process.returncode, _end_of(complaints)))


class _Stream(io.RawIOBase):
    """What a process writes, until `deadline` (`time.monotonic`)."""

    def __init__(self, descriptor: int, argv: Sequence[str], deadline: float) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._argv = argv
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        left = self._deadline - time.monotonic()
        if left <= 0 or not select.select([self._descriptor], [], [], left)[0]:
            raise CommandTimedOut(f"{_name(self._argv)} did not end in time")
        view = memoryview(buffer).cast("B")
        chunk = os.read(self._descriptor, len(view))
        view[: len(chunk)] = chunk
        return len(chunk)


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


def _communicate(
    process: subprocess.Popen[bytes], argv: Sequence[str], stdin: bytes, deadline: float, *, whole: bool
) -> tuple[bytes, bytes]:
    """Feed `stdin` and collect standard output and, if it is a pipe, the end of standard error.

    Returns when they are closed; without `whole` standard output is its end, too.

    Not `Popen.communicate`, which keeps in memory whatever an untrusted program writes.
    Raises TimeoutExpired at `deadline` (`time.monotonic`), also while a child that left the program's group
    holds its streams, and OutputTooLong.
    """
    stdout, stderr = bytearray(), bytearray()
    unsent = memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        for stream, collected in ((process.stdout, stdout), (process.stderr, stderr)):
            if stream is not None:
                selector.register(stream, selectors.EVENT_READ, collected)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(list(argv), 0)
            for key, _ in selector.select(left):
                if key.data is None:
                    unsent = _send(key.fd, unsent)
                    done = not unsent
                else:
                    done = not _receive(key.fd, key.data)
                    if key.data is stdout and whole:
                        if len(stdout) > _MAX_OUTPUT:
                            raise OutputTooLong(f"{_name(argv)} wrote more than {_MAX_OUTPUT >> 20} MiB")
                    else:
                        del key.data[:-_KEPT_END]
                if done:
                    selector.unregister(key.fileobj)
                    if process.stdin is not None and key.data is None:
                        process.stdin.close()
    return bytes(stdout), bytes(stderr)


def _send(descriptor: int, unsent: memoryview) -> memoryview:
    try:
        return unsent[os.write(descriptor, unsent[:_CHUNK_BYTES]) :]
    except BrokenPipeError:
        # It reads no more; its message or its exit status says why.
        return unsent[:0]


def _receive(descriptor: int, collected: bytearray) -> bool:
    chunk = os.read(descriptor, _CHUNK_BYTES)
    collected += chunk
    return bool(chunk)


def _kill(process: subprocess.Popen[bytes]) -> None:
    # Not reaped yet, so the group's number is still ours; it also names children the leader left behind.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _end_of(complaints: IO[bytes]) -> bytes:
    complaints.seek(max(0, complaints.seek(0, os.SEEK_END) - _KEPT_END))
    return complaints.read()


def _name(argv: Sequence[str]) -> str:
    return " ".join(argv[:6])


def _failure(argv: Sequence[str], returncode: int, output: bytes) -> str:
    detail = last_lines(output, _ERROR_CHARACTERS)
    return f"{_name(argv)} ended with status {returncode}: {detail or 'no output'}"
