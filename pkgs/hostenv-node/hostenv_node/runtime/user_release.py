"""Release folders below `~/.local/share/app`, as the environment's user."""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from hostenv_node.operations import OperationFailed
from hostenv_node.runtime.user_files import make_link
from hostenv_node.runtime.user_process import UserProcess, text_of, texts_of


def lay_out(process: UserProcess, arguments: Mapping[str, object]) -> None:
    """Finish the release whose `source` was unpacked: join it with the operator's Drupal, then rename it.

    Raises OperationFailed when the project has no such document root.
    """
    layout = process.layout
    name, docroot = text_of(arguments, "name"), text_of(arguments, "docroot")
    unfinished = layout.unfinished_release(name)
    source = unfinished / "source" / docroot
    if not source.is_dir():
        raise OperationFailed(f"the project has no folder {docroot} in its source; mend application.docroot")
    public = Path("source") / docroot
    if arguments.get("operatorRoot") is not None:
        site = unfinished / "site"
        shutil.rmtree(site, ignore_errors=True)
        operator = text_of(arguments, "operatorRoot")
        process.run_program(["cp", "-r", "--reflink=auto", f"{operator}/.", str(site)])
        # A read-only store's modes come along.
        process.run_program(["chmod", "-R", "u+w", str(site)])
        public = Path("site") / text_of(arguments, "operatorDocroot")
        process.run_program(["cp", "-r", f"{source}/.", str(unfinished / public)])
        _join_site(process, unfinished / public / "sites/default")
    make_link(unfinished / "public", str(public))
    # A reload that is done again after a crash may find it there, and served.
    before = layout.replaced_release(name)
    shutil.rmtree(before, ignore_errors=True)
    with suppress(FileNotFoundError):
        os.rename(layout.release(name), before)
    os.rename(unfinished, layout.release(name))
    shutil.rmtree(before, ignore_errors=True)


def switch(process: UserProcess, arguments: Mapping[str, object]) -> None:
    """Let `current` name the release, and remove all but those to be kept."""
    layout = process.layout
    name = text_of(arguments, "name")
    keep = {"current", name, *texts_of(arguments, "keep")}
    make_link(layout.current, name)
    for entry in layout.app_dir.iterdir():
        if entry.name not in keep:
            shutil.rmtree(entry, ignore_errors=True)


def _join_site(process: UserProcess, site: Path) -> None:
    site.mkdir(parents=True, exist_ok=True)
    settings, files = site / "settings.php", site / "files"
    if settings.exists() and not settings.is_symlink():
        os.replace(settings, site / "settings.project.php")
    if files.is_dir() and not files.is_symlink():
        shutil.rmtree(files)
    make_link(settings, str(process.layout.config_dir / "settings.php"))
    make_link(files, str(process.layout.files_dir))
