"""What both ends of a copy of a database agree on."""

import re

from hostenv_node.errors import OperationFailed

MARIADB_BACKUP = "mariadb-backup"
"""The tool that copies a database's files while it runs."""
MARIADB_BINLOG = "mariadb-binlog"
"""The tool that reads what was written since."""

MAX_PACKET = "1G"
"""MariaDB's own limit on a row and on a statement, at both ends of a dump and of its import."""


def counted_in_transactions(database: str) -> str:
    """A query for the columns by which tables keep a history of transactions, not of times."""
    return (
        f"SELECT 1 FROM information_schema.columns WHERE table_schema = '{database}'"
        " AND data_type = 'bigint' AND generation_expression = 'ROW START'"
    )


def series(version: str) -> str:
    """The series of a MariaDB, such as 11.8, from its version.

    Raises OperationFailed if that names none.
    """
    found = re.search(r"(?<![\d.])(\d+\.\d+)\.\d+-MariaDB", version)
    if found is None:
        raise OperationFailed(f"not a version of MariaDB: {version[:200]!r}")
    return found[1]
