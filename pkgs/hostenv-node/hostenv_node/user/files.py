"""Writing rendered files below the home, as its user."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from hostenv_core.files import replace_file

from hostenv_node.environment.steps import File
from hostenv_node.user.paths import clear, discard, make_folder, move, read_file
from hostenv_node.user.process import UserProcess

_PROFILE = '# Written by hostenv-node once; it is yours.\nPATH="$HOME/.local/bin:$PATH"\n'


def write_files(process: UserProcess, directories: Sequence[str], files: Sequence[File]) -> None:
    """Make directories and files as rendered, and remove others that were rendered from an earlier entry."""
    _adopt_sessions(process)
    for directory in directories:
        make_folder(Path(directory))
    manifest = process.layout.state_dir / "rendered.json"
    wanted = {file.path for file in files}
    discard(process, map(Path, sorted(_listed(manifest) - wanted)))
    for file in files:
        write_file(process, Path(file.path), file.content.encode(), file.mode)
    write_file(process, manifest, json.dumps(sorted(wanted)).encode(), 0o600)
    # A login shell must find the commands; where the system's own profile does it, there is a file already.
    if not any(
        (process.layout.home / name).exists() for name in (".profile", ".bash_profile", ".bash_login")
    ):
        write_file(process, process.layout.home / ".profile", _PROFILE.encode(), 0o644)


def _adopt_sessions(process: UserProcess) -> None:
    """Earlier versions kept PHP's sessions elsewhere, and a PHP-FPM that they started still does."""
    before, sessions = process.layout.state_dir / "sessions", process.layout.sessions_dir
    if before.is_dir() and not before.is_symlink() and not os.path.lexists(sessions):
        make_folder(sessions.parent)
        move(before, sessions)
        make_link(process, before, str(sessions))


def write_secrets(process: UserProcess, files: Sequence[File]) -> None:
    """Write files that the manifest does not list, because they come and go with the provider's secrets."""
    for file in files:
        write_file(process, Path(file.path), file.content.encode(), file.mode)


def write_file(process: UserProcess, path: Path, content: bytes, mode: int) -> None:
    """Replace `path` at once, whatever is there, unless it is already the same."""
    if read_file(path) == content and path.stat().st_mode & 0o777 == mode:
        return
    _make_way(process, path)
    replace_file(path, content, mode)


def make_link(process: UserProcess, path: Path, target: str) -> None:
    """Make `path` a link to `target`, replacing at once whatever is there."""
    make_folder(path.parent)
    if path.is_symlink() and os.readlink(path) == target:
        return
    _make_way(process, path)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, path)


def _make_way(process: UserProcess, path: Path) -> None:
    make_folder(path.parent)
    # A rename cannot replace a folder by something else.
    for place in (path, path.with_name(f".{path.name}.new")):
        if place.is_dir() and not place.is_symlink():
            clear(process, place)


def _listed(manifest: Path) -> set[str]:
    try:
        listed = json.loads(read_file(manifest) or b"[]")
    except (ValueError, RecursionError):
        listed = []
    return {path for path in listed if isinstance(path, str)} if isinstance(listed, list) else set()
