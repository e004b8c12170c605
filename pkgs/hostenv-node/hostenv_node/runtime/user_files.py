"""Writing rendered files below the home, as its user."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from hostenv_node.files import replace_file
from hostenv_node.runtime.layout import Layout
from hostenv_node.runtime.user_process import UserProcess

_PROFILE = '# Written by hostenv-node once; it is yours.\nPATH="$HOME/.local/bin:$PATH"\n'


def write_files(process: UserProcess, arguments: Mapping[str, object]) -> None:
    """Make directories and files as rendered, and remove what an earlier entry had rendered beyond them."""
    directories = arguments["directories"]
    files = arguments["files"]
    assert isinstance(directories, list)
    assert isinstance(files, list)
    _adopt_sessions(process.layout)
    for directory in directories:
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    manifest = process.layout.state_dir / "rendered.json"
    wanted = {path for path, _, _ in files}
    for path in _listed(manifest) - wanted:
        Path(path).unlink(missing_ok=True)
    for path, content, mode in files:
        write_file(Path(path), content.encode(), mode)
    write_file(manifest, json.dumps(sorted(wanted)).encode(), 0o600)
    # A login shell must find the commands; where the system's own profile does it, there is a file already.
    if not any(
        (process.layout.home / name).exists() for name in (".profile", ".bash_profile", ".bash_login")
    ):
        write_file(process.layout.home / ".profile", _PROFILE.encode(), 0o644)


def _adopt_sessions(layout: Layout) -> None:
    """Earlier versions kept PHP's sessions elsewhere, and a PHP-FPM that they started still does."""
    before = layout.state_dir / "sessions"
    if before.is_dir() and not before.is_symlink() and not layout.sessions_dir.exists():
        layout.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.rename(before, layout.sessions_dir)
        make_link(before, str(layout.sessions_dir))


def write_secrets(_process: UserProcess, arguments: Mapping[str, object]) -> None:
    """Write files that the manifest does not list, because they come and go with the provider's secrets."""
    files = arguments["files"]
    assert isinstance(files, list)
    for path, content, mode in files:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(Path(path), content.encode(), mode)


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Replace `path` at once, unless it is the same already."""
    try:
        if path.read_bytes() == content and path.stat().st_mode & 0o777 == mode:
            return
    except FileNotFoundError:
        pass
    replace_file(path, content, mode)


def make_link(path: Path, target: str) -> None:
    """Make `path` a link to `target`, replacing it at once."""
    if path.is_symlink() and os.readlink(path) == target:
        return
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, path)


def _listed(manifest: Path) -> set[str]:
    try:
        return set(json.loads(manifest.read_text()))
    except FileNotFoundError:
        return set()
