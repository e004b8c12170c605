"""The binary log of the environment's MariaDB: a place in it, what was written since, and doing it again."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hostenv_core.processes import pipe

from hostenv_node.environment.database import MAX_PACKET
from hostenv_node.errors import OperationFailed
from hostenv_node.user import database
from hostenv_node.user.process import UserProcess

_CHUNK_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\.(\d{6,10})")


@dataclass(frozen=True, order=True)
class Position:
    """A place in the log: the file's number, the offset in bytes, and the file's name."""

    number: int
    offset: int
    file: str

    @classmethod
    def parse(cls, file: str, offset: str | int) -> "Position":
        """Raises OperationFailed for what is no place in a log."""
        found = _NAME.fullmatch(file)
        try:
            place = int(offset)
        except ValueError:
            place = -1
        if found is None or place < 0:
            raise OperationFailed(f"not a position of a binary log: {file[:100]!r} {offset!r}")
        return cls(int(found[1]), place, file)

    @classmethod
    def of_line(cls, line: str) -> "Position":
        """The place that a line of MariaDB or mariadb-backup begins with. Raises as `parse`."""
        file, offset = [*line.split("\t"), ""][:2]
        return cls.parse(file, offset)


def position(process: UserProcess) -> Position | None:
    """Where the server writes now; None when it keeps no binary log."""
    answer = database.query(process, process.layout.mysql_socket, "SHOW MASTER STATUS").rstrip("\n")
    if not answer:
        return None
    return Position.of_line(answer)


def copy(process: UserProcess, begin: Position, end: Position, folder: Path) -> dict[str, int]:
    """Copy what was written between two places to files below `folder`; by file where its piece begins.

    Raises OperationFailed when the log does not reach back so far.
    """
    pieces = {}
    stem = begin.file.rpartition(".")[0]
    for number in range(begin.number, end.number + 1):
        name = f"{stem}.{number:06d}"
        file = process.layout.mysql_dir / name
        if not file.exists():
            raise OperationFailed(
                f"the binary log of {process.layout.user} has no {name} any more; start the move again"
            )
        first = begin.offset if number == begin.number else 0
        last = end.offset if number == end.number else file.stat().st_size
        with file.open("rb") as source, (folder / name).open("wb") as sink:
            source.seek(first)
            _copy(source, sink, last - first)
        pieces[name] = first
    return pieces


def lay(pieces: Mapping[str, int], folder: Path, mirror: Path) -> None:
    """Put pieces that `copy` made in their places of a mirror of the log, whatever is there already."""
    for name, offset in pieces.items():
        Position.parse(name, offset)
        with (folder / name).open("rb") as source, (mirror / name).open("ab") as sink:
            sink.truncate(offset)
            _copy(source, sink, (folder / name).stat().st_size)


@dataclass(frozen=True)
class Mark:
    """A place of one server's log, and the last transactions (GTID) before it, which any copy can be at."""

    position: Position
    transactions: str


def mark(process: UserProcess, place: Position) -> Mark:
    """What is marked by a place of this server's log."""
    return Mark(place, _transactions(process, place))


def _transactions(process: UserProcess, place: Position) -> str:
    statement = f"SELECT BINLOG_GTID_POS('{place.file}', {place.offset})"
    return database.query(process, process.layout.mysql_socket, statement).strip()


def replay(process: UserProcess, base: Mark, end: Mark, files: Sequence[Path]) -> None:
    """Do here what files of another server's log hold up to `end`, beyond `base` and what was done already.

    The transactions keep their numbers (GTID) in this server's own log, which it keeps in step with the data:
    so it is known what was done, whatever was killed. Raises CommandFailed with the server's words, and
    OperationFailed unless it has come to `end`.
    """
    done = _done(process)
    if _same(done or base.transactions, end.transactions):
        return
    producer = [
        process.tools["mariadb-binlog"],
        "--no-defaults",
        f"--start-position={done or base.position.offset}",
        *map(str, files),
    ]
    consumer = [
        process.tools["mariadb"],
        *database.connection(process, process.layout.mysql_socket),
        f"--max-allowed-packet={MAX_PACKET}",
        "--binary-mode",
    ]
    pipe(producer, consumer, timeout=process.deadline.remaining())
    done = _done(process)
    if not _same(done, end.transactions):
        raise OperationFailed(
            f"the database came to {done or 'nothing'}, not to {end.transactions}; start the move again"
        )


def _done(process: UserProcess) -> str:
    return database.query(process, process.layout.mysql_socket, "SELECT @@gtid_binlog_pos").strip()


def _same(one: str, other: str) -> bool:
    return set(one.split(",")) == set(other.split(","))


def _copy(source: IO[bytes], sink: IO[bytes], length: int) -> None:
    while length > 0:
        chunk = source.read(min(length, _CHUNK_BYTES))
        if not chunk:
            raise OperationFailed("the binary log is shorter than its server says; start the move again")
        sink.write(chunk)
        length -= len(chunk)


@dataclass(frozen=True)
class Snapshot:
    """Checksums of tables, by name as SQL quotes it, all at one place of the log."""

    position: Position
    checksums: dict[str, str]


def snapshot(process: UserProcess) -> Snapshot:
    """All transactional tables inside one consistent look, while the site writes on."""
    tables = transactional_tables(process)
    statements = [
        "START TRANSACTION WITH CONSISTENT SNAPSHOT",
        "SHOW STATUS LIKE 'binlog_snapshot_%'",
        *(f"CHECKSUM TABLE {table} EXTENDED" for table in tables),
    ]
    lines = _lines(process, ";".join(statements))
    shown = dict(lines[:2])
    place = Position.parse(shown["Binlog_snapshot_file"], shown["Binlog_snapshot_position"])
    return Snapshot(place, _checksums(tables, lines[2:]))


def checksums(process: UserProcess, tables: Sequence[str]) -> dict[str, str]:
    """Checksums of these tables, named as SQL quotes it, as they are now; one that is not there has NULL."""
    statements = [f"CHECKSUM TABLE {table} EXTENDED" for table in tables]
    return _checksums(tables, _lines(process, ";".join(statements)) if statements else [])


def transactional_tables(process: UserProcess) -> list[str]:
    """Every table whose content a snapshot shows, as SQL quotes it.

    Not those of the schema `mysql`: the server keeps statistics there that are in no log.
    """
    return _tables(process, "engine = 'InnoDB'")


def other_tables(process: UserProcess) -> list[str]:
    """The tables on the disk that a snapshot does not show."""
    return _tables(process, "engine NOT IN ('InnoDB', 'MEMORY') AND table_type <> 'SEQUENCE'")


def _tables(process: UserProcess, condition: str) -> list[str]:
    statement = (
        "SELECT HEX(table_schema), HEX(table_name) FROM information_schema.tables"
        f" WHERE {condition} AND table_schema NOT IN ('mysql', 'information_schema', 'performance_schema',"
        " 'sys') ORDER BY 1, 2"
    )
    return [".".join(_quoted(_unhexed(name)) for name in names) for names in _lines(process, statement)]


def _lines(process: UserProcess, statement: str) -> list[tuple[str, str]]:
    answer = database.query(process, process.layout.mysql_socket, statement)
    return [(fields[0], fields[1]) for line in answer.splitlines() if len(fields := line.split("\t")) > 1]


def _checksums(tables: Sequence[str], lines: Sequence[tuple[str, str]]) -> dict[str, str]:
    if len(lines) != len(tables):
        raise OperationFailed(f"MariaDB gave {len(lines)} checksums of {len(tables)} tables")
    return {table: checksum for table, (_, checksum) in zip(tables, lines, strict=True)}


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _unhexed(text: str) -> str:
    return bytes.fromhex(text).decode()
