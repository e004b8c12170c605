"""Starts programs. Each has a time limit and a limit on its output, and all that it started ends with it."""

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

MAX_OUTPUT = 16 << 20
"""Bytes that a program may write to its standard output, where a caller does not say otherwise."""

# So that a message that begins with the program's name is not cut where it is handed on.
_ERROR_CHARACTERS = 3000
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

    @property
    def error_text(self) -> str:
        """The end of standard error as text; bytes that are not UTF-8 are replaced."""
        return self.stderr.decode("utf-8", "replace")


class CommandFailed(HostenvError):
    """A program ended with another exit status than 0, or could not be started."""


class CommandTimedOut(CommandFailed):
    """A program was killed at its time limit."""


class OutputTooLong(CommandFailed):
    """A program was killed because it wrote more on standard output than it may."""


def run(
    argv: Sequence[str],
    *,
    timeout: float | None,
    stdin: bytes | int | IO[bytes] = b"",
    stdout: int | None = None,
    stderr: IO[bytes] | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    most: int | None = MAX_OUTPUT,
    whole: bool = True,
    shown: Sequence[str] = (),
    check: bool = True,
) -> Completed:
    """Run a program to its end; `env` is added to this process's environment.

    It may write `most` bytes to standard output, which are kept whole; without `whole` any number, of which
    the end is kept; or what it likes to the file descriptor `stdout` instead. All that it writes to standard
    error goes to the file `stderr`, if there is one. Errors show `argv`, or the command line `shown`.
    At `timeout` seconds the program and all that it started are killed.
    Raises CommandTimedOut, OutputTooLong, and with `check` CommandFailed on an exit status other than 0.
    """
    name = _name(shown or argv)
    deadline = None if timeout is None else time.monotonic() + timeout
    source: int | IO[bytes] = stdin if not isinstance(stdin, bytes) else subprocess.PIPE
    process = start(
        argv,
        stdin=source,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE if stderr is None else stderr,
        cwd=cwd,
        env=env,
    )
    try:
        given = stdin if isinstance(stdin, bytes) else b""
        said, complaints = _communicate(process, name, given, deadline, most, whole=whole)
        process.wait(_left(deadline))
    except subprocess.TimeoutExpired:
        raise CommandTimedOut(f"{name} did not end within {timeout:.0f} s") from None
    finally:
        kill(process)
    if stderr is not None:
        complaints = _end_of(stderr)
    if check and process.returncode:
        raise CommandFailed(_failure(name, process.returncode, complaints or said))
    return Completed(process.returncode, said, complaints)


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
    name = _name(consumer)
    deadline = time.monotonic() + timeout
    with tempfile.TemporaryFile() as complaints:
        source = start(producer, stderr=complaints, env=env)
        try:
            assert source.stdout is not None
            sink = start(consumer, stdin=source.stdout, env=env)
            try:
                source.stdout.close()
                stdout, stderr = _communicate(sink, name, b"", deadline, MAX_OUTPUT, whole=True)
                for process in (sink, source):
                    process.wait(_left(deadline))
            except subprocess.TimeoutExpired:
                raise CommandTimedOut(f"{name} did not end within {timeout:.0f} s") from None
            finally:
                kill(sink)
        finally:
            kill(source)
        if sink.returncode:
            raise CommandFailed(_failure(name, sink.returncode, stderr or stdout))
        if source.returncode:
            raise CommandFailed(_failure(_name(producer), source.returncode, _end_of(complaints)))
    return Completed(0, stdout, stderr)


@contextlib.contextmanager
def reading(argv: Sequence[str], *, timeout: float, stdin: bytes = b"") -> Iterator[IO[bytes]]:
    """Run a program and give its output as it comes; the block reads it to its end or raises.

    Raises CommandTimedOut, in the block where it reads, and CommandFailed when it does not end with 0.
    """
    name = _name(argv)
    deadline = time.monotonic() + timeout
    with tempfile.TemporaryFile() as complaints, open(os.memfd_create("stdin"), "w+b") as given:
        given.write(stdin)
        given.seek(0)
        process = start(argv, stdin=given, stderr=complaints)
        try:
            assert process.stdout is not None
            yield io.BufferedReader(_Stream(process.stdout.fileno(), name, deadline), _CHUNK_BYTES)
            process.wait(_left(deadline))
        except subprocess.TimeoutExpired:
            raise CommandTimedOut(f"{name} did not end in time") from None
        finally:
            kill(process)
        if process.returncode:
            raise CommandFailed(_failure(name, process.returncode, _end_of(complaints)))


class _Stream(io.RawIOBase):
    """What a process writes, until `deadline` (`time.monotonic`)."""

    def __init__(self, descriptor: int, name: str, deadline: float) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._name = name
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        left = self._deadline - time.monotonic()
        if left <= 0 or not select.select([self._descriptor], [], [], left)[0]:
            raise CommandTimedOut(f"{self._name} did not end in time")
        view = memoryview(buffer).cast("B")
        chunk = os.read(self._descriptor, len(view))
        view[: len(chunk)] = chunk
        return len(chunk)


def start(
    argv: Sequence[str],
    *,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, which `kill` ends.

    `env` is added to this process's environment. A terminal's Ctrl-C does not reach the program: who started
    it decides what ends when. Raises CommandFailed if it cannot be started.
    """
    try:
        return subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(
            f"cannot start {argv[0]}: {error.strerror}; install it or correct its path"
        ) from error


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and those it started in its session, unless it has ended, and reap it."""
    # Not reaped yet, so the group's number is still ours; it also names children the leader left behind.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _communicate(
    process: subprocess.Popen[bytes],
    name: str,
    stdin: bytes,
    deadline: float | None,
    most: int | None,
    *,
    whole: bool,
) -> tuple[bytes, bytes]:
    """Feed `stdin` and collect standard output and the end of standard error, as far as they are pipes.

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
            left = _left(deadline)
            if left == 0:
                raise subprocess.TimeoutExpired(name, 0)
            for key, _ in selector.select(left):
                if key.data is None:
                    unsent = _send(key.fd, unsent)
                    done = not unsent
                else:
                    done = not _receive(key.fd, key.data)
                    if key.data is stderr or not whole:
                        del key.data[:-_KEPT_END]
                    elif most is not None and len(stdout) > most:
                        raise OutputTooLong(f"{name} wrote more than {most / (1 << 20):g} MiB")
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


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0, deadline - time.monotonic())


def _end_of(complaints: IO[bytes]) -> bytes:
    complaints.seek(max(0, complaints.seek(0, os.SEEK_END) - _KEPT_END))
    return complaints.read()


def _name(argv: Sequence[str]) -> str:
    return " ".join([os.path.basename(argv[0]), *argv[1:6]])


def _failure(name: str, returncode: int, output: bytes) -> str:
    return f"{name} ended with status {returncode}: {last_lines(output, _ERROR_CHARACTERS) or 'no output'}"
