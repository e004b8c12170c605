"""Who may import whom: a package's rooms are its folders, and each border has its reason beside it."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PACKAGES = Path(__file__).resolve().parents[1] / "pkgs"


@dataclass(frozen=True)
class Room:
    """A folder of a package, and what it imports outside of it: rooms, or modules (`jobs.api`).

    What `hostenv_core` has that is pure everyone may import, and no row names it; what has effects is named
    with its package (`core.processes`).
    """

    name: str
    imports: str
    why: str

    @property
    def may_import(self) -> tuple[str, ...]:
        return tuple(self.imports.split())


@dataclass(frozen=True)
class Package:
    """A package's rooms, and the modules at its top."""

    needs: str
    """The other packages that it imports."""
    rooms: tuple[Room, ...]
    common: str
    """Modules that know of no room."""
    open: str
    """Modules that may import everything."""
    pure: str
    """Rooms and modules that start, read, write and wait for nothing, nor import what does."""
    values: str
    """Modules that are not pure, and of which the pure ones use only what is."""
    alone: Mapping[str, str] = field(default_factory=dict)
    """Where a library is used and nowhere else; an empty place: nowhere."""


CORE = "hostenv_core"
BORDERS = {
    CORE: Package(
        needs="",
        rooms=(),
        common=(
            "checks errors files intents json_value lines locks names processes secret_names source_limits"
            " states web"
        ),
        open="",
        pure="checks errors intents json_value lines names secret_names source_limits states",
        values="",
        alone={"subprocess": "processes"},
    ),
    "hostenv_node": Package(
        needs="hostenv_core",
        rooms=(
            Room(
                "comin",
                "config locks core.files core.processes",
                "comin waits for the switch and for its hook: what they do is short, and knows of no job",
            ),
            Room(
                "jobs",
                "comin config deadline environment.entry errors locks core.files core.processes",
                "what is done to environments stands behind `jobs.operations`; the simulator has its own",
            ),
            Room(
                "environment",
                "errors",
                "root and the environment's user share it: it leads to nothing that only one of them may use",
            ),
            Room(
                "render",
                "config environment errors",
                "files are a function of entry, paths and configuration, and their tests need no machine",
            ),
            Room(
                "runtime",
                "config deadline environment errors locks render jobs.api jobs.job_status jobs.operations"
                " core.files core.processes",
                "root opens nothing in a home, so it imports nothing of `user`; jobs decide what comes next",
            ),
            Room(
                "user",
                "deadline environment errors core.files core.processes core.web",
                "it runs as a tenant: nothing of root's, as tokens, configuration and records, leads into it",
            ),
        ),
        common="config deadline errors locks",
        open="cli",
        pure=(
            "environment errors render"
            " jobs.decide jobs.job_status jobs.journal jobs.operations jobs.overview"
            " runtime.actions runtime.losses runtime.nar runtime.sequences runtime.source_tree"
        ),
        values="config deadline",
        alone={"subprocess": "", "requests": "jobs.api runtime.backup_server"},
    ),
    "hostenv_provider": Package(
        needs="hostenv_core",
        rooms=(
            Room(
                "plan",
                "",
                "who gets what where is a function of what people wrote; look-ups and clocks are arguments",
            ),
            Room(
                "rules",
                "plan",
                "what may happen is a function of recorded state; store and simulator carry it out",
            ),
            Room(
                "store",
                "plan rules",
                "one place writes the database, each transaction carries out one rule; it knows of no caller",
            ),
            Room(
                "repository",
                "config dns plan rules.stored core.files core.locks core.processes",
                "what Git and Nix say is the same whoever asks: it knows of no job and no request",
            ),
            Room(
                "secrets",
                "config store core.files core.locks core.processes",
                "secrets lie in files of their own; who may have which is asked of the store",
            ),
            Room(
                "disks",
                "config core.files",
                "how full a disk is has nothing to do with why it is asked",
            ),
            Room(
                "work",
                "disks dns plan repository rules secrets stop_point store core.web",
                "work is taken from the store, never from a request, and goes on when nobody asks",
            ),
            Room(
                "web",
                "config disks plan repository rules secrets store core.web",
                "a handler translates and calls; what takes long is left to `work`, which the store tells",
            ),
            Room(
                "cli",
                "config dns plan repository secrets service web.client",
                "a command asks the service over its socket: the database has one writer",
            ),
        ),
        common="config dns stop_point",
        open="service",
        pure="plan rules",
        values="",
        alone={
            "sqlite3": "store",
            "subprocess": "",
            "socketserver http.server": "web.server",
        },
    ),
}

EFFECTS = (
    "asyncio fcntl glob http os requests select selectors shutil signal socket sqlite3 subprocess tempfile"
    " threading time urllib.request"
)
"""Modules that a pure module does not import."""
CALLS = (
    "chmod exists glob is_dir is_file iterdir lstat mkdir open read_bytes rename resolve rglob rmdir stat"
    " symlink_to touch unlink write_bytes write_text"
)
"""Functions and methods of `Path` that a pure module does not call."""


@dataclass(frozen=True)
class Module:
    """A module by its name below the package (`jobs.decide`)."""

    name: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]

    def imports(self) -> Iterator[str]:
        """Everything that it imports anywhere, modules and names in them, by full name."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from (f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names)

    def calls(self) -> Iterator[str]:
        """The names of the functions and methods that it calls."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                called = node.func
                yield called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def modules(package: str) -> list[Module]:
    top = PACKAGES / package.replace("_", "-") / package
    names = {
        path: ".".join(path.relative_to(top).with_suffix("").parts) for path in sorted(top.rglob("*.py"))
    }
    return [
        Module(name.removesuffix(".__init__"), ast.parse(path.read_text()))
        for path, name in names.items()
        if name != "__init__"
    ]


def within(name: str, places: tuple[str, ...]) -> bool:
    """Whether a module, or a name in it, is one of these places or in one."""
    return any(f"{name}.".startswith(f"{place}.") for place in places)


def own(package: str, module: Module) -> list[str]:
    """What a module imports of its own package and, if it is not pure, of the core, by its name there."""
    imported = list(module.imports())
    assert not [name for name in imported if name.startswith(".")], "imports are absolute here"
    found = [name.removeprefix(f"{package}.") for name in imported if name.startswith(f"{package}.")]
    if package != CORE:
        core = [name.removeprefix(f"{CORE}.") for name in imported if name.startswith(f"{CORE}.")]
        found += [f"core.{name}" for name in core if not within(name, tuple(BORDERS[CORE].pure.split()))]
    return found


PACKAGES_OF = {
    **{name: package.needs for name, package in BORDERS.items()},
    "hostenv_lab": "hostenv_core",
    "hostenv_demo": "hostenv_core hostenv_lab",
}


@pytest.mark.parametrize("package", PACKAGES_OF)
def test_a_package_imports_no_more_than_it_may(package: str) -> None:
    """The provider and the node know nothing of each other; the core holds what both mean."""
    imported = {name.partition(".")[0] for module in modules(package) for name in module.imports()}
    assert {name for name in imported if name.startswith("hostenv_")} - {package} == set(
        PACKAGES_OF[package].split()
    )


@pytest.mark.parametrize("package", BORDERS)
def test_every_module_belongs_to_a_room(package: str) -> None:
    described = BORDERS[package]
    places = {room.name for room in described.rooms} | {*described.common.split(), *described.open.split()}
    assert {module.room for module in modules(package)} == places


@pytest.mark.parametrize(
    ("package", "room"),
    [
        pytest.param(name, room, id=f"{name}.{room.name}")
        for name, package in BORDERS.items()
        for room in package.rooms
    ],
)
def test_a_room_imports_no_more_than_it_may(package: str, room: Room) -> None:
    imported = [
        (module.name, name)
        for module in modules(package)
        if module.room == room.name
        for name in own(package, module)
        if not within(name, (room.name,))
    ]
    assert [pair for pair in imported if not within(pair[1], room.may_import)] == [], room.why
    unused = [place for place in room.may_import if not any(within(name, (place,)) for _, name in imported)]
    assert unused == [], "the row allows what nobody needs"


@pytest.mark.parametrize("package", BORDERS)
def test_what_all_rooms_may_import_knows_of_no_room(package: str) -> None:
    common = (*BORDERS[package].common.split(), "core")
    imported = [
        (each.name, name) for each in modules(package) if each.room in common for name in own(package, each)
    ]
    assert [pair for pair in imported if not within(pair[1], common)] == []


@pytest.mark.parametrize("package", BORDERS)
def test_what_is_pure_has_no_effect(package: str) -> None:
    places = tuple(BORDERS[package].pure.split())
    allowed = (*places, *BORDERS[package].values.split())
    effects, calls = tuple(EFFECTS.split()), CALLS.split()
    pure = [module for module in modules(package) if within(module.name, places)]
    assert [place for place in places if not any(within(each.name, (place,)) for each in pure)] == []
    found = [(each.name, name) for each in pure for name in each.imports() if within(name, effects)]
    found += [(each.name, name) for each in pure for name in own(package, each) if not within(name, allowed)]
    found += [(each.name, f"{name}()") for each in pure for name in each.calls() if name in calls]
    assert found == []


@pytest.mark.parametrize(
    ("package", "used", "place"),
    [(name, used, place) for name, package in BORDERS.items() for used, place in package.alone.items()],
)
def test_what_belongs_to_one_place_is_used_nowhere_else(package: str, used: str, place: str) -> None:
    users = {
        module.name
        for module in modules(package)
        for name in module.imports()
        if within(name, tuple(used.split()))
    }
    assert bool(users) == bool(place)
    assert [user for user in users if not within(user, tuple(place.split()))] == []


def test_of_the_tests_the_product_needs_the_script_alone() -> None:
    """The demo is `tests/script.py` with a wizard around it; all else that packages need lies in them."""
    files = [
        path
        for folder in ("pkgs", "modules", "seed", "templates")
        for path in (PACKAGES.parent / folder).rglob("*")
        if path.suffix in (".py", ".nix", ".toml") and "tests" not in path.parts
    ]
    assert len(files) > 200
    named = {
        (path.name, found)
        for path in files
        for found in re.findall(r"""\.\./tests/[^\s;]+|"tests"(?: / "[^"]+")*""", path.read_text())
    }
    assert named == {("default.nix", "../tests/script.py"), ("demo.py", '"tests" / "script.py"')}
