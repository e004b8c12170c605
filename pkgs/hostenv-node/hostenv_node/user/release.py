"""Release folders below `~/.local/share/app`, as the environment's user."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hostenv_core.errors import HostenvError

from hostenv_node.environment.steps import OperatorCode
from hostenv_node.errors import OperationFailed
from hostenv_node.user.files import make_link
from hostenv_node.user.paths import clear, discard, make_folder
from hostenv_node.user.process import UserProcess


def begin(process: UserProcess, name: str) -> None:
    """An empty folder for the source of a release; what an earlier attempt left is removed."""
    unfinished = process.layout.unfinished_release(name)
    clear(process, unfinished)
    make_folder(unfinished / "source")


def drop(process: UserProcess, name: str) -> None:
    """Remove everything of a release that was not finished."""
    discard(process, [process.layout.unfinished_release(name)])


def lay_out(process: UserProcess, name: str, docroot: str, operator: OperatorCode | None) -> None:
    """Finish the release whose `source` was unpacked: join it with the operator's Drupal, then rename it.

    Raises OperationFailed when the project has no such document root. Nothing is left of what fails.
    """
    try:
        _lay_out(process, name, docroot, operator)
    except (HostenvError, OSError):
        drop(process, name)
        raise


def activate(process: UserProcess, name: str, keep: Sequence[str]) -> None:
    """Let `current` name the release, and remove all others except those to be kept."""
    make_folder(process.layout.app_dir)
    make_link(process, process.layout.current, name)
    discard_but(process, [name, *keep])


def tidy(process: UserProcess, paths: Sequence[str], keep: Sequence[str]) -> None:
    """Remove the named paths, and all releases except `current` and those to be kept."""
    discard(process, map(Path, paths))
    discard_but(process, keep)


def discard_but(process: UserProcess, keep: Sequence[str]) -> None:
    """Discard all releases except `current` and those to be kept."""
    current = process.layout.current
    kept = {current.name, *keep}
    if current.is_symlink():
        kept.add(os.readlink(current))
    with suppress(FileNotFoundError):
        discard(process, [entry for entry in process.layout.app_dir.iterdir() if entry.name not in kept])


def _lay_out(process: UserProcess, name: str, docroot: str, operator: OperatorCode | None) -> None:
    layout = process.layout
    unfinished = layout.unfinished_release(name)
    source = unfinished / "source" / docroot
    if not source.is_dir():
        raise OperationFailed(
            f"the project has no folder {docroot} in its source; correct application.docroot"
        )
    public = Path("source") / docroot
    if operator is not None:
        site = unfinished / "site"
        clear(process, site)
        process.run_program(["cp", "-r", "--reflink=auto", f"{operator.root}/.", str(site)])
        # The modes of a read-only store are copied too.
        process.run_program(["chmod", "-R", "u+w", str(site)])
        public = Path("site") / operator.docroot
        process.run_program(["cp", "-r", f"{source}/.", str(unfinished / public)])
        _join_site(process, unfinished / public / "sites/default")
    make_link(process, unfinished / "public", str(public))
    # A reload that is repeated after a crash may find it there, already served.
    clear(process, layout.release(name))
    os.rename(unfinished, layout.release(name))


def _join_site(process: UserProcess, site: Path) -> None:
    site.mkdir(parents=True, exist_ok=True)
    settings, files = site / "settings.php", site / "files"
    if settings.exists() and not settings.is_symlink():
        os.replace(settings, site / "settings.project.php")
    if files.is_dir() and not files.is_symlink():
        clear(process, files)
    make_link(process, settings, str(process.layout.config_dir / "settings.php"))
    make_link(process, files, str(process.layout.files_dir))
