"""Installing and refreshing the application, as the environment's user."""

from pathlib import Path

from hostenv_core.processes import Completed

from hostenv_node.environment.steps import PrepareApplication
from hostenv_node.user import database
from hostenv_node.user.files import write_file
from hostenv_node.user.paths import clear
from hostenv_node.user.process import UserProcess


def prepare(process: UserProcess, wanted: PrepareApplication) -> None:
    """Install Drupal into an empty database; where tables are, fit them to the code that is now there.

    Where the tree has drush, it updates the database. An interrupted installation is begun again.
    """
    layout = process.layout
    begun = layout.state_dir / "installing"
    root = (layout.release(wanted.release) / "public").resolve()
    if begun.exists():
        database.query(process, layout.mysql_socket, f"DROP DATABASE IF EXISTS `{layout.codebase}`")
        database.create_database(process, layout.mysql_socket)
    elif not database.is_empty(process):
        if wanted.update:
            _update(process, root)
        _php(process, layout.config_dir / "rebuild_drupal.php", root)
        return
    write_file(process, begun, b"", 0o600)
    _php(process, layout.config_dir / "install_drupal.php", root, wanted.profile, wanted.hostname)
    clear(process, begun)


def updates_wait(process: UserProcess, release: str) -> bool:
    """Whether the release's drush says that the database must be updated for its code."""
    root = (process.layout.release(release) / "public").resolve()
    drush = _drush(root)
    if drush is None:
        return False
    said = _php(process, drush, f"--root={root}", "updatedb-status", "--format=json", check=False)
    return said.returncode == 0 and said.text.strip() not in ("", "[]", "{}", "null")


def _update(process: UserProcess, root: Path) -> None:
    drush = _drush(root)
    if drush is not None:
        _php(process, drush, f"--root={root}", "--yes", "updatedb")


def _drush(root: Path) -> Path | None:
    places = (root / "vendor/bin/drush", root.parent / "vendor/bin/drush")
    return next((path for path in places if path.exists()), None)


def _php(process: UserProcess, script: Path, *arguments: Path | str, check: bool = True) -> Completed:
    return process.run("php", "-d", "memory_limit=512M", script, *arguments, check=check)
