"""The site's names in this host's /etc/hosts, by hostctl: only where it is installed and the user agrees."""

import shlex
import shutil
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_lab import run

_TIMEOUT = 30
# names the profile, so that a teardown finds it after a crash
_RECORD = "hostctl-profile"


def available() -> bool:
    """Whether this host has hostctl."""
    return shutil.which("hostctl") is not None


def add(workdir: Path) -> None:
    """Add the names in the work folder's `hosts`. Raises HostenvError if hostctl does not do it."""
    profile = f"hostenv-demo-{workdir.name}"
    (workdir / _RECORD).write_text(f"{profile}\n", encoding="utf-8")
    try:
        run.run(["hostctl", "replace", profile, "--from", str(workdir / "hosts")], timeout=_TIMEOUT)
    except HostenvError:
        (workdir / _RECORD).unlink()
        raise


def remove(workdir: Path) -> None:
    """Take the names out again, if the run added any.

    Raises HostenvError with the command for it if hostctl does not do it; a later call tries again.
    """
    record = workdir / _RECORD
    if record.is_file() and not record.is_symlink():
        command = ["hostctl", "remove", record.read_text(encoding="utf-8").strip()]
        try:
            run.run(command, timeout=_TIMEOUT)
        except HostenvError as error:
            raise HostenvError(
                f"the site's names stay in /etc/hosts: {error}; take them out with: {shlex.join(command)}"
            ) from error
        record.unlink()
