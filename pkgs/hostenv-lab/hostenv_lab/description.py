"""The description of the machines: what `machines.toml` may say, and what it means."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.json_value import Value

_MAX_MACHINES = 250
_MAX_PORT = 65535


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
    """Everything that `machines.toml` says, with paths made absolute."""

    image: ImageDescription
    machines: tuple[MachineDescription, ...]
    substitutes: Mapping[str, Substitute]
    ports: tuple[PortForward, ...]
    sockets: tuple[SocketForward, ...]


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
    return _Reader(path.parent).description(Value(document, path, most=None))


@dataclass(frozen=True)
class _Reader:
    """Reads tables of the document, whose paths are relative to `folder`."""

    folder: Path

    def description(self, table: Value) -> Description:
        table.members(["image", "machine"], ["substitute", "forward", "socket"])
        substitutes = {
            name: self._substitute(name, entry)
            for name, entry in table.member("substitute", {}).object().items()
        }
        entries = table.member("machine").entries(_is_name, "a machine's host name")
        if not 1 <= len(entries) <= _MAX_MACHINES:
            raise table.member("machine").error(f"describe 1 to {_MAX_MACHINES} machines")
        return Description(
            image=_image(table.member("image")),
            machines=tuple(
                self._machine(name, number, entry, substitutes)
                for number, (name, entry) in enumerate(entries.items(), 1)
            ),
            substitutes=substitutes,
            ports=tuple(_port(entry, entries) for entry in table.member("forward", []).items()),
            sockets=tuple(_socket(entry, entries) for entry in table.member("socket", []).items()),
        )

    def _substitute(self, name: str, table: Value) -> Substitute:
        members = table.members(["stand_in", "target"], ["executable"])
        return Substitute(
            name=name,
            stand_in=self._source(members["stand_in"]),
            target=_absolute(members["target"]),
            executable=table.flag("executable"),
        )

    def _machine(
        self, name: str, number: int, table: Value, substitutes: Mapping[str, Substitute]
    ) -> MachineDescription:
        table.members([], ["memory", "products", "trees", "enable", "substitutes"])
        wanted = table.member("substitutes", []).items()
        return MachineDescription(
            name=name,
            number=number,
            memory=table.member("memory", 1024).integer(1, 1024 * 1024),
            products=tuple(self._source(each) for each in table.member("products", []).items()),
            trees=tuple(self._tree(each) for each in table.member("trees", []).items()),
            enable=_strings(table, "enable"),
            substitutes=tuple(each.named(substitutes.__contains__, "a [substitute]") for each in wanted),
        )

    def _tree(self, table: Value) -> Tree:
        members = table.members(["source", "target"])
        return Tree(self._source(members["source"]), _absolute(members["target"]))

    def _source(self, value: Value) -> Path:
        path = (self.folder / value.string()).resolve()
        if not path.exists():
            raise value.error(f"there is no {path}")
        return path


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[a-z][a-z0-9-]{0,62}", text) is not None


def _absolute(value: Value) -> str:
    return value.named(
        lambda text: text.startswith("/") and ".." not in text.split("/"), "an absolute path without '..'"
    )


def _strings(table: Value, key: str) -> tuple[str, ...]:
    return tuple(each.string() for each in table.member(key, []).items())


def _image(table: Value) -> ImageDescription:
    members = table.members(["suite"], ["packages", "mask", "disable", "remove"])
    return ImageDescription(
        suite=members["suite"].string(),
        packages=_strings(table, "packages"),
        mask=_strings(table, "mask"),
        disable=_strings(table, "disable"),
        remove=_strings(table, "remove"),
    )


def _port(table: Value, machines: Mapping[str, object]) -> PortForward:
    members = table.members(["machine", "guest_port", "address", "port"], ["name", "scheme"])
    machine = _known(members["machine"], machines)
    return PortForward(
        name=table.member("name", machine).string(),
        scheme=table.member("scheme", "http").string(),
        machine=machine,
        guest_port=members["guest_port"].integer(1, _MAX_PORT),
        address=members["address"].string(),
        port=members["port"].integer(1, _MAX_PORT),
    )


def _socket(table: Value, machines: Mapping[str, object]) -> SocketForward:
    members = table.members(["machine", "guest_path", "path"])
    return SocketForward(
        machine=_known(members["machine"], machines),
        guest_path=_absolute(members["guest_path"]),
        path=members["path"].named(
            lambda text: not text.startswith("/") and ".." not in text.split("/"),
            "a path below the work folder",
        ),
    )


def _known(value: Value, machines: Mapping[str, object]) -> str:
    return value.named(machines.__contains__, "a [machine]")
