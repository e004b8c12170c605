"""What a copy of the environment's database does not hold, looked up as its user while the site is live."""

from hostenv_node.environment.database import counted_in_transactions
from hostenv_node.user import database, units
from hostenv_node.user.process import UserProcess

_MOST = 1000


def find(process: UserProcess) -> dict[str, list[str]]:
    """Names by kind: no dump keeps `floats` (`table.column`), `databases`, `accounts`, `histories` (tables).

    Nothing but the server's memory keeps the rows of `memory` (tables).
    """
    layout = process.layout
    units.control(process, "start", [layout.mysql_unit])
    return {
        kind: _names(process, f"{statement} ORDER BY 1 LIMIT {_MOST}")
        for kind, statement in _statements(layout.codebase, layout.user).items()
    }


def _names(process: UserProcess, statement: str) -> list[str]:
    answer = database.query(process, process.layout.mysql_socket, statement)
    return [line for line in answer.split("\n") if line]


def _statements(database: str, user: str) -> dict[str, str]:
    return {
        # FLOAT(m,d) is written with all its digits.
        "floats": (
            "SELECT CONCAT(table_name, '.', column_name)"
            " FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)"
            f" WHERE table_schema = '{database}' AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')"
            " AND data_type = 'float' AND numeric_scale IS NULL AND is_generated = 'NEVER'"
        ),
        "databases": (
            "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN"
            f" ('{database}', 'information_schema', 'mysql', 'performance_schema', 'sys')"
        ),
        # The others are in every fresh data folder.
        "accounts": (
            "SELECT IF(host = '', user, CONCAT(user, '@', host)) FROM mysql.global_priv"
            f" WHERE NOT (host = 'localhost' AND user IN ('root', 'mariadb.sys', '{user}'))"
        ),
        # With one such table mariadb-dump refuses the history of all tables.
        "histories": (
            "SELECT table_name FROM information_schema.tables"
            f" WHERE table_schema = '{database}' AND table_type = 'SYSTEM VERSIONED'"
            f" AND EXISTS ({counted_in_transactions(database)})"
        ),
        "memory": (
            "SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables"
            " WHERE engine = 'MEMORY' AND table_rows > 0"
            " AND table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')"
        ),
    }
