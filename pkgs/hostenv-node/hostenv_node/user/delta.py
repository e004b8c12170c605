"""What changed on a live site since the last time, as one archive, and taking it in (contract 7, `sync`).

An archive is numbered within its job. It is made once and kept until the next: asked for again, after a crash
say, it is the same. It holds `meta.json`, pieces of the binary log and, in `files.tar`, the changed paths.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path

from hostenv_core.json_value import Value, parse_object
from hostenv_core.lines import last_lines

from hostenv_node.environment.changes import Seen, Tree, changes
from hostenv_node.environment.steps import UnitFiles
from hostenv_node.errors import OperationFailed
from hostenv_node.user import binlog, database, units
from hostenv_node.user.binlog import Mark, Position, Snapshot
from hostenv_node.user.files import write_file
from hostenv_node.user.paths import clear, make_folder, read_file
from hostenv_node.user.process import UserProcess
from hostenv_node.user.scan import scan

_TAKEN_IN = "taken-in.json"
_NAMED = 10
# The clock of a file system goes in steps of some milliseconds.
_SETTLED_NS = 1_000_000_000
META, LOG, FILES = "meta.json", "binlog", "files.tar"


@dataclass(frozen=True)
class Meta:
    """What an archive says of itself.

    `base` is where the copy of the database is that the archives begin with, `end` where this one ends.
    `pieces` of the binary log: where each begins in its file. `checksums` of tables, by `database.table`, are
    those at `end`: of all transactional tables with `compare`, of all others when the source stands `still`.
    """

    number: int
    base: Mark
    end: Mark
    pieces: Mapping[str, int]
    removed: tuple[str, ...]
    checksums: Mapping[str, str]
    compare: bool
    still: bool

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, content: bytes | None, source: Path) -> "Meta":
        """Raises HostenvError for what `to_json` does not make."""
        value = Value(parse_object(content or b"", source, "start the move again"), source, most=None)
        return cls(
            value.member("number").integer(1),
            _mark(value.member("base")),
            _mark(value.member("end")),
            {name: each.integer(0) for name, each in value.member("pieces").object().items()},
            tuple(each.text() for each in value.member("removed").items()),
            {key: each.text() for key, each in value.member("checksums").object().items()},
            value.flag("compare"),
            value.flag("still"),
        )


@dataclass(frozen=True)
class _State:
    """What a source has sent with an archive: places in the binary log, and the files as they were.

    `base` is where the database's copy is, `end` the archive's place; None before there is that copy.
    """

    base: Mark | None
    end: Position | None
    tree: Tree


def begin(process: UserProcess) -> None:
    """Look at the files before the base is made: whatever changes from here on is in a delta."""
    layout = process.layout
    clear(process, layout.sync_dir)
    make_folder(layout.sync_dir)
    looked = time.time_ns()
    _write_state(process, 0, _State(None, None, _settled(_tree(process), looked)))


def based(process: UserProcess, position: Position) -> None:
    """The base is made; its database is at `position`."""
    _write_state(process, 0, _State(binlog.mark(process, position), position, _read_state(process, 0).tree))


def last(process: UserProcess) -> int:
    """The number of the last archive that was made; 0 before the first."""
    numbers = [int(path.stem.removeprefix("delta-")) for path in process.layout.sync_dir.glob("delta-*.tar")]
    return max(numbers, default=0)


def receive(process: UserProcess, unit_files: UnitFiles) -> None:
    """Start the database that was restored, to take in what changed since.

    Until the end it need not survive a power cut, after which the move begins anew.
    """
    make_folder(process.layout.sync_dir)
    units.bring_up(process, unit_files)
    _set(process, "innodb_flush_log_at_trx_commit = 2", "sync_binlog = 0")


def make(process: UserProcess, number: int, *, compare: bool) -> Path:
    """The archive `number` of a source, made if it is not there yet.

    With `compare` the tables are looked at in one snapshot, and the archive ends at its place.
    """
    return _make(process, number, process.layout.delta(number), compare=compare, still=False)


def make_rest(process: UserProcess) -> int:
    """Make the archive of the last changes if it is not there yet; its number.

    Nothing writes any more: what cannot be read now is an error.
    """
    number = last(process) + 1
    _make(process, number, process.layout.rest(number), compare=False, still=True)
    return number


def _make(process: UserProcess, number: int, archive: Path, *, compare: bool, still: bool) -> Path:
    layout = process.layout
    if archive.exists():
        return archive
    since = _read_state(process, number - 1)
    if since.base is None or since.end is None:
        raise OperationFailed(f"the base of {layout.user} is not made; start the move again")
    # After a boot it may still be on its way.
    units.control(process, "start", [layout.mysql_unit])
    folder = archive.with_suffix(".new")
    clear(process, folder)
    make_folder(folder)
    look = binlog.snapshot(process) if compare else None
    end = binlog.position(process) if look is None else look.position
    if end is None:
        raise OperationFailed(f"MariaDB of {layout.user} keeps no binary log any more; start the move again")
    make_folder(folder / LOG)
    # The log's head is needed to read it.
    first = replace(since.end, offset=0) if number == 1 else since.end
    pieces = binlog.copy(process, first, end, folder / LOG)
    looked = time.time_ns()
    tree = _tree(process)
    found = changes(since.tree, tree)
    _pack(process, layout.data_dir, found.changed, folder / FILES, still=still)
    meta = Meta(
        number,
        since.base,
        binlog.mark(process, end),
        pieces,
        found.removed,
        _checksums(process, look, still=still),
        compare,
        still,
    )
    (folder / META).write_text(meta.to_json())
    _write_state(process, number, _State(since.base, end, _settled(tree, looked)))
    unfinished = folder / archive.name
    process.run("tar", "--create", f"--file={unfinished}", f"--directory={folder}", META, LOG, FILES)
    os.sync()
    os.rename(unfinished, archive)
    clear(process, folder)
    if not still:
        # It was taken in, or nobody would ask for the next one.
        clear(process, layout.delta(number - 1))
    return archive


def taken_in(process: UserProcess) -> tuple[int, bool]:
    """The number of the last archive that was taken in, 0 before it, and whether nothing can follow."""
    place = process.layout.sync_dir / _TAKEN_IN
    try:
        number, still = json.loads(read_file(place) or b"[0, false]")
        return int(number), bool(still)
    except (ValueError, TypeError, RecursionError) as error:
        raise OperationFailed(
            f"{place}, what was taken in so far, is spoilt; start the move again"
        ) from error


def take_in(process: UserProcess, number: int) -> None:
    """Make of the copy here what the source was at the archive's end, which was unpacked below `incoming`.

    Done again after a crash it ends the same. Raises OperationFailed, naming tables, when their content is
    not the source's, CommandFailed when the server or tar refuses something.
    """
    layout = process.layout
    folder, mirror = layout.incoming(number), layout.sync_dir / LOG
    meta = Meta.from_json(read_file(folder / META), folder / META)
    make_folder(mirror)
    binlog.lay(meta.pieces, folder / LOG, mirror)
    binlog.replay(process, meta.base, meta.end, [mirror / name for name in sorted(meta.pieces)])
    _compare(process, meta)
    _unpack(process, meta.removed, folder / FILES)
    if meta.still:
        # From here on the source's copy is not needed, so this one must survive anything.
        _set(process, "innodb_flush_log_at_trx_commit = 1", "sync_binlog = 1")
        database.query(process, layout.mysql_socket, "FLUSH ENGINE LOGS; FLUSH BINARY LOGS")
        os.sync()
    write_file(process, layout.sync_dir / _TAKEN_IN, json.dumps([number, meta.still]).encode(), 0o600)
    clear(process, folder)


def _set(process: UserProcess, *settings: str) -> None:
    statement = "; ".join(f"SET GLOBAL {setting}" for setting in settings)
    database.query(process, process.layout.mysql_socket, statement)


def _checksums(process: UserProcess, look: Snapshot | None, *, still: bool) -> Mapping[str, str]:
    if still:
        return binlog.checksums(process, binlog.other_tables(process))
    return {} if look is None else look.checksums


def _compare(process: UserProcess, meta: Meta) -> None:
    wanted = meta.checksums
    tables = {*wanted, *(binlog.transactional_tables(process) if meta.compare else ())}
    found = binlog.checksums(process, sorted(tables))
    different = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if different:
        shown = ", ".join(name.replace("`", "") for name in different[:_NAMED])
        more = f" and {len(different) - _NAMED} more" if len(different) > _NAMED else ""
        raise OperationFailed(f"these tables are not as on the source: {shown}{more}; start the move again")


def _pack(process: UserProcess, root: Path, paths: Sequence[str], archive: Path, *, still: bool) -> None:
    names = archive.with_suffix(".names")
    names.write_bytes(b"".join(os.fsencode(path) + b"\0" for path in paths))
    completed = process.run(
        "tar",
        "--create",
        f"--file={archive}",
        f"--directory={root}",
        *(
            "--format=pax",
            "--sparse",
            "--xattrs",
            "--acls",
            "--no-recursion",
            "--null",
            "--verbatim-files-from",
        ),
        *(() if still else ("--ignore-failed-read",)),
        f"--files-from={names}",
        check=False,
    )
    # 1: some of it changed meanwhile, and is in the next archive once more.
    if completed.returncode not in ((0,) if still else (0, 1)):
        raise OperationFailed(
            f"tar cannot read the files of {process.layout.user}: {last_lines(completed.stderr, 1000)}"
        )


def _unpack(process: UserProcess, removed: Sequence[str], archive: Path) -> None:
    """Removed first, for a folder may stand where a file was."""
    root = process.layout.data_dir
    for path in removed:
        place = root / path
        try:
            if place.is_dir() and not place.is_symlink():
                place.rmdir()
            else:
                place.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
    process.run(
        "tar",
        "--extract",
        f"--file={archive}",
        f"--directory={root}",
        *("--preserve-permissions", "--xattrs", "--acls", "--delay-directory-restore"),
    )


def _settled(tree: Mapping[str, Seen], looked: int) -> dict[str, Seen]:
    """The tree without the times of what changed just before: another change may have the same ones."""
    return {
        path: seen if seen.ctime < looked - _SETTLED_NS else replace(seen, ctime=0)
        for path, seen in tree.items()
    }


def _tree(process: UserProcess) -> dict[str, Seen]:
    layout = process.layout
    folders = (layout.files_dir, layout.private_files_dir, layout.sessions_dir)
    return scan(layout.data_dir, [folder.name for folder in folders])


def _read_state(process: UserProcess, number: int) -> _State:
    try:
        content = json.loads(_state_file(process, number).read_bytes())
        base, end = content["base"], content["end"]
        return _State(
            None if base is None else Mark(Position(*base[0]), base[1]),
            None if end is None else Position(*end),
            {path: Seen(*fields) for path, fields in content["tree"].items()},
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        # It is the customer's own to spoil.
        raise OperationFailed(
            f"{_state_file(process, number)}, what was sent so far, is gone or spoilt; start the move again"
        ) from error


def _write_state(process: UserProcess, number: int, state: _State) -> None:
    content = {
        "base": None if state.base is None else astuple(state.base),
        "end": None if state.end is None else astuple(state.end),
        "tree": {path: astuple(seen) for path, seen in state.tree.items()},
    }
    write_file(process, _state_file(process, number), json.dumps(content).encode(), 0o600)


def _state_file(process: UserProcess, number: int) -> Path:
    return process.layout.sync_dir / f"state-{number}.json"


def _mark(value: Value) -> Mark:
    return Mark(_position(value.member("position")), value.member("transactions").text())


def _position(value: Value) -> Position:
    return Position.parse(value.member("file").text(), value.member("offset").integer(0))
