"""What both ends of a dump agree on."""

MAX_PACKET = "1G"
"""MariaDB's own limit on a row and on a statement, at both ends of a dump and of its import."""


def counted_in_transactions(database: str) -> str:
    """A query for the columns by which tables keep a history of transactions, not of times."""
    return (
        f"SELECT 1 FROM information_schema.columns WHERE table_schema = '{database}'"
        " AND data_type = 'bigint' AND generation_expression = 'ROW START'"
    )
