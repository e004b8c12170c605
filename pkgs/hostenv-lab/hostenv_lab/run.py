"""Starts programs of this machine, most of them inside control groups."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from hostenv_core import processes
from hostenv_core.processes import CommandFailed, Completed

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
_LANGUAGE = {"LC_ALL": "C.UTF-8"}
_STDERR = 2


def run(
    argv: Sequence[str],
    *,
    timeout: float | None,
    stdin: bytes | IO[bytes] = b"",
    stderr: IO[bytes] | None = None,
    groups: Sequence[Path] = (),
    check: bool = True,
) -> Completed:
    """`processes.run` inside control groups, given by their `cgroup.procs` files; all output is kept."""
    return processes.run(
        in_groups(groups, argv) if groups else argv,
        timeout=timeout,
        stdin=stdin,
        stderr=stderr,
        env=_LANGUAGE,
        most=None,
        shown=argv,
        check=check,
    )


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
        raise CommandFailed(f"{' '.join(argv[:6])} did not end within {timeout:.0f} s") from None


def start(argv: Sequence[str], *, output: Path, groups: Sequence[Path] = ()) -> subprocess.Popen[bytes]:
    """Start a program that goes on by itself: output appended to a file, inside control groups.

    `groups` are `cgroup.procs` files. Raises CommandFailed if the program cannot be started.
    """
    with output.open("ab") as stream:
        return processes.start(
            in_groups(groups, argv), stdout=stream, stderr=subprocess.STDOUT, env=_LANGUAGE
        )


def in_groups(groups: Sequence[Path], argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` inside control groups, given by their `cgroup.procs` files."""
    return ["/bin/sh", "-ec", _ENTER_GROUPS, "enter", *map(str, groups), "--", *argv]


def in_clean_environment(argv: Sequence[str], *, keep: Sequence[str] = ()) -> list[str]:
    """The command line that runs `argv` as root with nothing of this process's environment but `keep`."""
    kept = [f"{name}={os.environ[name]}" for name in keep if name in os.environ]
    return ["/usr/bin/env", "-i", *_ENVIRONMENT, *kept, *argv]


def ask_to_install(packages: Sequence[str]) -> str:
    """The command line that installs Debian packages, for a message."""
    return f"apt-get install --no-install-recommends {' '.join(packages)}"
