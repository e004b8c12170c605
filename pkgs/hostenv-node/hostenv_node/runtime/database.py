"""The node's MariaDB, of which every environment has a server of its own."""

from hostenv_core.processes import run

from hostenv_node.config import Config
from hostenv_node.environment.database import MARIADB_BACKUP, MARIADB_BINLOG, series

_SECONDS = 60.0


def copied_series(config: Config) -> str | None:
    """The series of MariaDB whose files this node can copy and take; None without the tools for it.

    Raises HostenvError when MariaDB does not say its version.
    """
    if not {MARIADB_BACKUP, MARIADB_BINLOG} <= config.tools.keys():
        return None
    return series(run([config.tool("mariadbd"), "--version"], timeout=_SECONDS).text)
