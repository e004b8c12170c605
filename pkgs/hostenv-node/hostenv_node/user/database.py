"""The environment's MariaDB, as its user."""

import os
from pathlib import Path

from hostenv_core.processes import CommandFailed

from hostenv_node.environment.database import MARIADB_BACKUP, MAX_PACKET, series
from hostenv_node.environment.steps import UnitFiles
from hostenv_node.errors import OperationFailed
from hostenv_node.user import units
from hostenv_node.user.paths import clear, make_folder, read_file
from hostenv_node.user.process import UserProcess

# A server that its user has stopped accepts connections for ever, and a statement may take long.
_CONNECT_SECONDS = 30
_INFO = ("mariadb_backup_info", "xtrabackup_info")


def ensure(process: UserProcess, unit_files: UnitFiles) -> None:
    """The folders of files and a running server with the environment's database; existing data stay."""
    layout = process.layout
    for directory in (layout.files_dir, layout.private_files_dir / "config_sync"):
        make_folder(directory)
    if not os.path.lexists(layout.mysql_dir):
        unfinished = layout.mysql_dir.with_name(".mysql.new")
        initialise(process, unfinished)
        os.rename(unfinished, layout.mysql_dir)
    units.bring_up(process, unit_files)
    create_database(process, layout.mysql_socket)


def initialise(process: UserProcess, directory: Path) -> None:
    """A fresh data folder, whose administrator is the environment's user by socket authentication alone."""
    clear(process, directory)
    make_folder(directory)
    process.run(
        "mariadb-install-db",
        "--no-defaults",
        f"--datadir={directory}",
        # A starting server deletes temporary tables in its folder, even those of other servers.
        f"--tmpdir={directory}",
        f"--basedir={Path(process.tools['mariadb-install-db']).resolve().parent.parent}",
        "--auth-root-authentication-method=socket",
        f"--auth-root-socket-user={process.layout.user}",
        "--skip-test-db",
        "--skip-name-resolve",
        "--innodb-log-file-size=32M",
    )


def create_database(process: UserProcess, socket: Path) -> None:
    """The environment's database, if it is not there."""
    name = process.layout.codebase
    charset = "CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
    query(process, socket, f"CREATE DATABASE IF NOT EXISTS `{name}` {charset}")


def connection(process: UserProcess, socket: Path) -> tuple[str, ...]:
    """The first arguments of a client, by which the server lets the environment's user in."""
    return "--no-defaults", "--skip-ssl", f"--socket={socket}", f"--user={process.layout.user}"


def query(process: UserProcess, socket: Path, statement: str) -> str:
    """Run one statement; tab-separated rows without headings.

    Raises OperationFailed when the server lets nobody in, CommandFailed for the statement's own error.
    """
    try:
        return process.run(
            "mariadb",
            *connection(process, socket),
            f"--connect-timeout={_CONNECT_SECONDS}",
            "--batch",
            "--skip-column-names",
            f"--execute={statement}",
            whole=True,
        ).text
    except CommandFailed as error:
        if "at 'handshake" not in str(error):
            raise
        raise OperationFailed(
            f"MariaDB of {process.layout.user} does not answer; as that user, run"
            f" systemctl --user restart {process.layout.mysql_unit} ({error})"
        ) from error


def make_consistent(process: UserProcess, base: Path) -> None:
    """Make a data folder of what was copied from a running server.

    Raises OperationFailed when no server of this node's series wrote it, or its copy was interrupted.
    """
    # The file's name changed in MariaDB 11.
    found = next((path for name in _INFO for path in [base / name] if os.path.lexists(path)), None)
    if found is None:
        raise OperationFailed("the copy of the database was interrupted; migrate again")
    said = (read_file(found) or b"").decode(errors="replace")
    theirs = next((line for line in said.splitlines() if line.startswith("server_version")), "")
    ours = process.run("mariadbd", "--version").text
    if series(theirs) != series(ours):
        raise OperationFailed(
            f"the database was copied from MariaDB {series(theirs)}, here is {series(ours)}; migrate again"
        )
    process.run(MARIADB_BACKUP, "--no-defaults", "--prepare", f"--target-dir={base}")


def import_dump(process: UserProcess, socket: Path, dump: Path) -> None:
    """Read a dump into the environment's database, which the dump makes anew as it was."""
    process.run(
        "mariadb",
        *connection(process, socket),
        f"--max-allowed-packet={MAX_PACKET}",
        # Otherwise the client makes LF of CRLF and stops at a NUL.
        "--binary-mode",
        "--default-character-set=utf8mb4",
        f"--database={process.layout.codebase}",
        stdin=dump,
    )


def is_empty(process: UserProcess) -> bool:
    """Whether the environment's database has no table."""
    name = process.layout.codebase
    statement = f"SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '{name}'"
    return query(process, process.layout.mysql_socket, statement).strip() == "0"
