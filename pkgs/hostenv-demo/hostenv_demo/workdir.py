"""The demo's work folder and the link `./hostenv-demo` to it (contract 9)."""

import contextlib
import shutil
import tempfile
from pathlib import Path

from hostenv_lab import image, record
from hostenv_lab.errors import HostenvError

from hostenv_demo import evidence, hosts
from hostenv_demo.names import LINK

PREFIX = "hostenv-local-vm-demo-"


def make(chosen: Path | None) -> Path:
    """A new work folder below /tmp, or the chosen one. Raises HostenvError if that is in use."""
    if chosen is None:
        return Path(tempfile.mkdtemp(prefix=PREFIX))
    if chosen.exists() and (not chosen.is_dir() or any(chosen.iterdir())):
        raise HostenvError(f"{chosen}: exists and is not an empty folder; give a new name to --workdir")
    try:
        chosen.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostenvError(f"{chosen}: cannot be made: {error.strerror}; give another --workdir") from error
    return chosen.resolve()


def link(workdir: Path) -> bool:
    """Let `./hostenv-demo` point to the work folder; False if another run has that name already."""
    try:
        if LINK.is_symlink() and not LINK.exists():
            LINK.unlink()
        LINK.symlink_to(workdir)
    except OSError:
        return False
    return True


def unlink(workdir: Path) -> None:
    """Remove the link if it is this work folder's."""
    with contextlib.suppress(OSError):
        if LINK.is_symlink() and LINK.readlink() == workdir:
            LINK.unlink()


def remove(workdir: Path) -> None:
    """Remove a run that may still be there, its work folder and its link.

    Raises HostenvError, and removes nothing, if the folder is no demo's.
    """
    record.read(workdir)
    hosts.remove(workdir)
    record.teardown(workdir)
    unlink(workdir)


def left_behind() -> list[Path]:
    """The work folders below /tmp of runs that are no longer driven."""
    folders = sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))
    return [folder for folder in folders if (folder / record.FILE).is_file() and not record.driven(folder)]


def discard(workdir: Path) -> None:
    """Remove the work folder and the link of a run whose machines have ended."""
    shutil.rmtree(workdir, ignore_errors=True)
    unlink(workdir)


def keep_logs(workdir: Path) -> Path | None:
    """Copy logs and evidence of a failed run to the cache, where they outlive the work folder.

    None if it has no logs.
    """
    if not (workdir / "logs").is_dir():
        return None
    kept = image.cache_folder().parent / "hostenv-demo" / workdir.name
    try:
        for name in ("logs", evidence.FOLDER):
            shutil.copytree(workdir / name, kept / name, dirs_exist_ok=True)
    except OSError:
        # a full disk must not hide the failure itself
        return None
    return kept
