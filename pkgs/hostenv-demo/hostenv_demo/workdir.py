"""The demo's work folder and the link `./hostenv-demo` to it (contract 9)."""

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_lab import image, record

from hostenv_demo import evidence, hosts
from hostenv_demo.names import LINK

PREFIX = "hostenv-local-vm-demo-"
# not TMPDIR, which differs from shell to shell: a teardown must find what another shell's run left
PARENT = Path("/tmp")


def make(chosen: Path | None) -> Path:
    """A new work folder below /tmp, or the chosen one. Raises HostenvError if that is in use."""
    if chosen is None:
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=PARENT)).resolve()
    if chosen.exists() and (not chosen.is_dir() or any(chosen.iterdir())):
        raise HostenvError(f"{chosen}: exists and is not an empty folder; give a new name to --workdir")
    try:
        chosen.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostenvError(f"{chosen}: cannot be made: {error.strerror}; give another --workdir") from error
    return chosen.resolve()


def link(workdir: Path) -> bool:
    """Let `./hostenv-demo` point to the work folder; False if a run that goes on has that name already.

    What is no link to a run's folder is left alone too.
    """
    try:
        if LINK.is_symlink() and _may_be_replaced(LINK.resolve()):
            LINK.unlink()
        LINK.symlink_to(workdir)
    except OSError:
        return False
    return True


def unlink(workdir: Path) -> None:
    """Remove the link if it is this work folder's."""
    with contextlib.suppress(OSError):
        if LINK.is_symlink() and LINK.resolve() == workdir:
            LINK.unlink()


def remove(workdir: Path) -> None:
    """Remove a run that may still be there, its work folder and its link.

    Raises HostenvError, and removes nothing, if the folder is no demo's; or, when all the rest is gone, if
    the site's names are still in /etc/hosts.
    """
    folder = workdir.resolve()
    record.read(folder)
    try:
        hosts.remove(folder)
    finally:
        record.teardown(folder)
        unlink(folder)


def left_behind() -> list[Path]:
    """The work folders of the caller's own runs that were cut short, below /tmp or where the link leads.

    One whose record cannot be read is among them: `remove` says so.
    """
    found = sorted(PARENT.glob(f"{PREFIX}*"))
    if LINK.is_symlink():
        found.append(LINK.resolve())
    return [folder for folder in dict.fromkeys(found) if _is_own(folder) and _was_cut_short(folder)]


def discard(workdir: Path) -> None:
    """Remove the work folder and the link of a run whose machines have ended."""
    # what cannot be removed must not hide how the run ended
    with contextlib.suppress(OSError):
        record.remove_folder(workdir)
    unlink(workdir)


def keep(workdir: Path) -> None:
    """Let the work folder of a run whose machines have ended stay until somebody removes it by its name."""
    if (workdir / record.FILE).exists():
        record.settle(workdir)


def keep_logs(workdir: Path) -> Path | None:
    """Copy logs and, if machines ran, evidence of a failed run to the cache, where they outlive the folder.

    None if it has no logs.
    """
    if not (workdir / "logs").is_dir():
        return None
    kept = image.cache_folder().parent / "hostenv-demo" / workdir.name
    ran = (workdir / evidence.FOLDER / evidence.RUN).exists()
    try:
        for name in ("logs", *([evidence.FOLDER] if ran else [])):
            shutil.copytree(workdir / name, kept / name, dirs_exist_ok=True)
    except OSError:
        # a full disk must not hide the failure itself
        return None
    return kept


def _may_be_replaced(target: Path) -> bool:
    if not target.exists():
        return True
    try:
        return not record.driven(target)
    except HostenvError:
        return False


def _is_own(folder: Path) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _was_cut_short(folder: Path) -> bool:
    if not (folder / record.FILE).exists():
        return False
    try:
        return not record.read(folder).ended and not record.driven(folder)
    except HostenvError:
        return True
