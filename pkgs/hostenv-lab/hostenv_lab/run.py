"""The only place of this package that starts processes."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hostenv_core.errors import HostenvError

# Joins the control groups named before `--`, then becomes the command. `-e`: a process that comes too late,
# when its group is already gone, ends here instead of running unseen.
_ENTER_GROUPS = 'while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@"'
# What commands find in a machine and in its image, whoever started this process.
_ENVIRONMENT = (
    "HOME=/root",
    "USER=root",
    "LOGNAME=root",
    "LANG=C.UTF-8",
    "PAGER=",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
)
_STDERR = 2


@dataclass(frozen=True)
class Completed:
    """What a finished process left."""

    returncode: int
    stdout: bytes
    stderr: bytes


class CommandFailed(HostenvError):
    """A program of this machine ended with another status than 0, or could not be started.

    `output` is all that it wrote to its standard error.
    """

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


def run(
    argv: Sequence[str],
    *,
    timeout: float | None,
    stdin: bytes | IO[bytes] = b"",
    stderr: int | IO[bytes] = subprocess.PIPE,
    groups: Sequence[Path] = (),
    check: bool = True,
) -> Completed:
    """Run a program to its end, at most `timeout` seconds, in a session of its own.

    `groups` are the `cgroup.procs` files of control groups to run it in. A session of its own
    keeps the terminal's Ctrl-C from it: this process decides what ends when.
    Raises CommandFailed at the time limit, and with `check` on another status than 0.
    """
    source = subprocess.PIPE if isinstance(stdin, bytes) else stdin
    process = _popen(in_groups(groups, argv) if groups else argv, source, subprocess.PIPE, stderr)
    try:
        out, err = process.communicate(stdin if isinstance(stdin, bytes) else None, timeout)
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{_name(argv)} did not end within {timeout:.0f} s") from None
    finally:
        kill(process)
    completed = Completed(process.returncode, out, err or b"")
    if check and completed.returncode:
        raise CommandFailed(_failure(argv, completed), completed.stderr.decode("utf-8", "replace"))
    return completed


def run_visibly(argv: Sequence[str], *, timeout: float, **environment: str) -> int:
    """Run a program that a person follows: its words go to standard error as they come.

    Returns its exit status. Raises CommandFailed at the time limit, and if it cannot be started.
    """
    try:
        return subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=_STDERR,
            env={**os.environ, **environment},
            timeout=timeout,
            check=False,
        ).returncode
    except OSError as error:
        raise CommandFailed(f"cannot start {argv[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{_name(argv)} did not end within {timeout:.0f} s") from None


def start(argv: Sequence[str], *, output: Path, groups: Sequence[Path] = ()) -> subprocess.Popen[bytes]:
    """Start a program that goes on by itself: output appended to a file, inside control groups.

    `groups` are `cgroup.procs` files. Raises CommandFailed if the program cannot be started.
    """
    with output.open("ab") as stream:
        return _popen(in_groups(groups, argv), subprocess.DEVNULL, stream, subprocess.STDOUT)


def start_piped(argv: Sequence[str], *, stderr: int | IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a program whose standard output is read as it comes. Raises CommandFailed."""
    return _popen(argv, subprocess.DEVNULL, subprocess.PIPE, stderr)


def in_groups(groups: Sequence[Path], argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` inside control groups, given by their `cgroup.procs` files."""
    return ["/bin/sh", "-ec", _ENTER_GROUPS, "enter", *map(str, groups), "--", *argv]


def in_clean_environment(argv: Sequence[str], *, keep: Sequence[str] = ()) -> list[str]:
    """The command line that runs `argv` as root with nothing of this process's environment but `keep`."""
    kept = [f"{name}={os.environ[name]}" for name in keep if name in os.environ]
    return ["/usr/bin/env", "-i", *_ENVIRONMENT, *kept, *argv]


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and those it started in its session, unless it has ended, and reap it."""
    # Not reaped yet, so the group's number is still ours.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def ask_to_install(packages: Sequence[str]) -> str:
    """The command line that installs Debian packages, for a message."""
    return f"apt-get install --no-install-recommends {' '.join(packages)}"


def _popen(
    argv: Sequence[str],
    stdin: int | IO[bytes],
    stdout: int | IO[bytes],
    stderr: int | IO[bytes],
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(f"cannot start {argv[0]}: {error.strerror}") from error


def _name(argv: Sequence[str]) -> str:
    return " ".join(argv[:6])


def _failure(argv: Sequence[str], completed: Completed) -> str:
    output = (completed.stderr or completed.stdout).decode("utf-8", "replace").strip()
    lines = output.splitlines()
    if sys.stderr.isatty():
        lines = lines[-1:]
    return f"{_name(argv)} ended with status {completed.returncode}: {'; '.join(lines[-5:]) or 'no output'}"
