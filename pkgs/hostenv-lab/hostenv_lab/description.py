"""The description of the machines: what `machines.toml` may say, and what it means."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hostenv_core.errors import HostenvError

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_MAX_MACHINES = 250


@dataclass(frozen=True)
class Tree:
    """A file or folder of this host and the absolute path it gets in a machine."""

    source: Path
    target: str


@dataclass(frozen=True)
class Substitute:
    """A program or tree that is given at run time, else comes from the repository.

    `executable` marks a program, whose stand-in may be a Python package with a `cli.main`.
    """

    name: str
    stand_in: Path
    target: str
    executable: bool


@dataclass(frozen=True)
class ImageDescription:
    """What the common image is made of: a Debian suite, packages, and services that stay off.

    `mask`: never start; `disable`: do not start by themselves; `remove`: paths deleted from the image.
    """

    suite: str
    packages: tuple[str, ...]
    mask: tuple[str, ...]
    disable: tuple[str, ...]
    remove: tuple[str, ...]


@dataclass(frozen=True)
class MachineDescription:
    """One machine. `number` is its place among the sorted names, `memory` MiB of a VM.

    `products` are source trees of Python packages, `trees` files laid over, `enable` units started at boot.
    """

    name: str
    number: int
    memory: int
    products: tuple[Path, ...]
    trees: tuple[Tree, ...]
    enable: tuple[str, ...]
    substitutes: tuple[str, ...]


@dataclass(frozen=True)
class PortForward:
    """A port of a machine that answers on this host, at `port` or the next free one, as `scheme`://…

    `name` is what the run calls the endpoint; the machine's own unless several ports of it answer.
    """

    name: str
    scheme: str
    machine: str
    guest_port: int
    address: str
    port: int


@dataclass(frozen=True)
class SocketForward:
    """A Unix socket of a machine that answers at a path below the work folder."""

    machine: str
    guest_path: str
    path: str


@dataclass(frozen=True)
class Description:
    """Everything that `machines.toml` says, with paths made absolute.

    `python_path`: folders from which testScripts may import, besides what is installed.
    """

    image: ImageDescription
    machines: tuple[MachineDescription, ...]
    substitutes: Mapping[str, Substitute]
    ports: tuple[PortForward, ...]
    sockets: tuple[SocketForward, ...]
    python_path: tuple[Path, ...] = ()


def load(path: Path) -> Description:
    """Read a description.

    Raises HostenvError naming the file, the key and what is wrong with it.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HostenvError(
            f"{path}: cannot be read ({error.strerror}); name a description with --description"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise HostenvError(f"{path}: {error}; correct it") from error
    return _description(_Table(path, "", document))


class _Table:
    """One table of the document; says in each error which key of which file is wrong."""

    def __init__(self, path: Path, where: str, values: Mapping[str, object]) -> None:
        self._path = path
        self._where = where
        self._values = values
        self._used: set[str] = set()

    def error(self, key: str, message: str) -> HostenvError:
        return HostenvError(f"{self._path}: {self._where}{key}: {message}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self._take(key, default)
        if not isinstance(value, str) or (not value and default is None):
            raise self.error(key, "must be a non-empty text")
        return value

    def absolute(self, key: str) -> str:
        value = self.text(key)
        if not value.startswith("/") or ".." in value.split("/"):
            raise self.error(key, f"must be an absolute path without '..', not {value!r}")
        return value

    def number(self, key: str, default: int | None, maximum: int) -> int:
        value = self._take(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= maximum:
            raise self.error(key, f"must be a whole number from 1 to {maximum}")
        return value

    def flag(self, key: str) -> bool:
        value = self._take(key, False)
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._take(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self.error(key, "must be a list of texts")
        return tuple(value)

    def source(self, key: str) -> Path:
        return self.resolve(key, self.text(key))

    def sources(self, key: str) -> tuple[Path, ...]:
        return tuple(self.resolve(key, text) for text in self.texts(key))

    def resolve(self, key: str, text: str) -> Path:
        path = (self._path.parent / text).resolve()
        if not path.exists():
            raise self.error(key, f"there is no {path}")
        return path

    def table(self, key: str) -> "_Table":
        return self._sub(key, self._take(key, {}))

    def tables(self, key: str) -> dict[str, "_Table"]:
        value = self._take(key, {})
        if not isinstance(value, dict):
            raise self.error(key, "must be a table")
        return {name: self._sub(f"{key}.{name}", entry) for name, entry in value.items()}

    def items(self, key: str) -> list["_Table"]:
        value = self._take(key, [])
        if not isinstance(value, list):
            raise self.error(key, "must be a list of tables")
        return [self._sub(f"{key}[{index}]", entry) for index, entry in enumerate(value)]

    def done(self) -> None:
        for key in self._values:
            if key not in self._used:
                raise self.error(key, "is not a key of a description; remove it")

    def _take(self, key: str, default: object) -> object:
        self._used.add(key)
        return self._values.get(key, default)

    def _sub(self, where: str, value: object) -> "_Table":
        if not isinstance(value, dict):
            raise self.error(where, "must be a table")
        return _Table(self._path, f"{self._where}{where}.", value)


def _description(table: _Table) -> Description:
    image = _image(table.table("image"))
    substitutes = {name: _substitute(name, entry) for name, entry in table.tables("substitute").items()}
    entries = table.tables("machine")
    if not 1 <= len(entries) <= _MAX_MACHINES:
        raise table.error("machine", f"describe 1 to {_MAX_MACHINES} machines")
    machines = tuple(
        _machine(name, number, entries[name], substitutes) for number, name in enumerate(sorted(entries), 1)
    )
    ports = tuple(_port(entry, entries) for entry in table.items("forward"))
    sockets = tuple(_socket(entry, entries) for entry in table.items("socket"))
    python_path = table.sources("python_path")
    table.done()
    return Description(image, machines, substitutes, ports, sockets, python_path)


def _image(table: _Table) -> ImageDescription:
    image = ImageDescription(
        suite=table.text("suite"),
        packages=table.texts("packages"),
        mask=table.texts("mask"),
        disable=table.texts("disable"),
        remove=table.texts("remove"),
    )
    table.done()
    return image


def _substitute(name: str, table: _Table) -> Substitute:
    substitute = Substitute(
        name=name,
        stand_in=table.source("stand_in"),
        target=table.absolute("target"),
        executable=table.flag("executable"),
    )
    table.done()
    return substitute


def _machine(
    name: str, number: int, table: _Table, substitutes: Mapping[str, Substitute]
) -> MachineDescription:
    if not _NAME.fullmatch(name):
        raise table.error("", f"{name!r} is not a host name of lower-case letters, digits and dashes")
    trees = []
    for entry in table.items("trees"):
        trees.append(Tree(entry.source("source"), entry.absolute("target")))
        entry.done()
    machine = MachineDescription(
        name=name,
        number=number,
        memory=table.number("memory", 1024, 1024 * 1024),
        products=table.sources("products"),
        trees=tuple(trees),
        enable=table.texts("enable"),
        substitutes=table.texts("substitutes"),
    )
    for wanted in machine.substitutes:
        if wanted not in substitutes:
            raise table.error("substitutes", f"there is no [substitute.{wanted}]")
    table.done()
    return machine


def _port(table: _Table, machines: Mapping[str, object]) -> PortForward:
    machine = _known(table, machines)
    forward = PortForward(
        name=table.text("name", machine),
        scheme=table.text("scheme", "http"),
        machine=machine,
        guest_port=table.number("guest_port", None, 65535),
        address=table.text("address"),
        port=table.number("port", None, 65535),
    )
    table.done()
    return forward


def _socket(table: _Table, machines: Mapping[str, object]) -> SocketForward:
    forward = SocketForward(
        machine=_known(table, machines), guest_path=table.absolute("guest_path"), path=table.text("path")
    )
    if forward.path.startswith("/") or ".." in forward.path.split("/"):
        raise table.error("path", "must stay below the work folder")
    table.done()
    return forward


def _known(table: _Table, machines: Mapping[str, object]) -> str:
    name = table.text("machine")
    if name not in machines:
        raise table.error("machine", f"there is no [machine.{name}]")
    return name
