"""Files and answers that are damaged or mean harm: refused in one line, and nothing is made of them."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostenv_core.errors import HostenvError
from hostenv_core.intents import Action
from hostenv_node.cli import main
from hostenv_node.comin import spool
from hostenv_node.comin.generation import Generation, Slice
from hostenv_node.comin.users import ensure_users
from hostenv_node.config import Config
from hostenv_node.environment.entry import parse_environment
from hostenv_node.environment.layout import Layout
from hostenv_node.jobs.activation import Activation
from hostenv_node.jobs.api import Api
from hostenv_node.jobs.journal import JobJournal, Progress
from hostenv_node.jobs.journal_store import JournalStore
from hostenv_node.render.files import render
from hostenv_node.render.nginx import front_door
from hostenv_node.runtime.freeze import Freezes
from hostenv_node.runtime.frontdoor import FrontDoor
from hostenv_node.runtime.record import Applied, Phase, Record, Records
from node_support import C1, USER, Provider, RecordedOperations, action, switch
from runtime_support import TOOLS, entry, program

DAMAGED = {
    "empty": b"",
    "cut short": b'{"node": "node-b", "environ',
    "not UTF-8": b'{"node": "\xff\xfe"}',
    "nested too deeply": b"[" * 100_000,
    "zeros": b"\0" * 4096,
    "a list": b"[]",
    "a number": b"7",
    "a text": b'"node-b"',
    "null": b"null",
}
HOSTILE = [
    "../../etc/passwd",
    "a b",
    "a\nb: c",
    'a"b',
    "a'b",
    "a;b",
    "a{b}",
    "$(touch x)",
    "`touch x`",
    "%h",
    "-rf",
    "a\0b",
    "\u00e9",
    "x" * 300,
    "",
]
WRONG_TYPES: list[Any] = [None, True, -1, 0.5, 10**30, [], {}, [["x"]], {"x": 1}]

PHP_ENTRY = {**entry(), "application": {"name": "php", "docroot": "web"}}

damaged = pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON document."""
    children: Any = ()
    if isinstance(document, dict):
        children = document.items()
    elif isinstance(document, list):
        children = enumerate(document)
    for key, value in children:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    made = copy.deepcopy(document)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return made


def outcome(call: Callable[[], Any]) -> Any:
    """What the call gives, None if it refuses; it must refuse in one line."""
    try:
        return call()
    except HostenvError as error:
        message = str(error)
    assert message
    assert message.isprintable(), message
    return None


def refusal(call: Callable[[], object]) -> str:
    """The one line with which the call refuses."""
    with pytest.raises(HostenvError) as caught:
        call()
    assert str(caught.value).isprintable()
    return str(caught.value)


def record() -> Record:
    release = f"{'a' * 40}-12345678"
    return Record(
        user=USER,
        uid=1002,
        codebase="drupal",
        phase=Phase.ACTIVE,
        job="job-1",
        applied=Applied(entry(), release),
        previous=Applied(entry(), release),
        snapshots={"drupal-migrate": "ab" * 32},
        set_aside={"job-0": 12.5},
    )


def journal() -> JobJournal:
    begun = JobJournal.opened(
        "job-1", C1, "node-b", 1, (Action("backup", USER, "node-b", "node-a", ("data",)),)
    )
    return begun.started(0).ended(0, Progress.SUCCESS, "done", {"user": USER})


@pytest.fixture
def config(configure: Callable[..., Config], tmp_path: Path) -> Config:
    (tmp_path / "state").mkdir()
    return configure(tools={name: program(name, *candidates) for name, candidates in TOOLS.items()})


# Damaged files


@damaged
def test_a_damaged_machine_configuration_ends_every_command_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = tmp_path / "node.json"
    path.write_bytes(content)
    monkeypatch.setenv("HOSTENV_NODE_CONFIG", str(path))
    for arguments in (["boot"], ["activate"], ["switch", "/nix/store/x"]):
        assert main(arguments) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"hostenv-node: {path}")
        assert printed.err.count("\n") == 1


@damaged
def test_a_damaged_file_of_the_state_is_named(config: Config, tmp_path: Path, content: bytes) -> None:
    readers: dict[Path, Callable[[], object]] = {
        config.slice_file: lambda: Slice.recorded(config),
        config.generation_file: lambda: Generation.recorded(config),
        config.users_file: lambda: ensure_users(config, {USER: 1002}, tmp_path),
        config.jobs_dir / "job-1.json": lambda: JournalStore(config.jobs_dir).load(),
        config.spool_dir / "1-1.json": lambda: spool.entries(config),
        config.environments_dir / f"{USER}.json": lambda: Records(config.environments_dir).get(USER),
    }
    for path, read in readers.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        assert str(path) in refusal(read)
    assert list(tmp_path.glob(f"**/{USER}")) == []


def test_a_damaged_freeze_still_freezes_and_belongs_to_no_job(tmp_path: Path) -> None:
    (tmp_path / USER).write_bytes(b"\xff\0\n")
    assert Freezes(tmp_path).holder(USER)
    assert not Freezes(tmp_path).thaw(USER, "job-1")


def test_a_damaged_file_of_the_front_door_is_written_again(config: Config) -> None:
    config.nginx_dir.mkdir()
    (config.nginx_dir / f"{USER}.conf").write_bytes(b"\xff\xfe server {")
    (config.nginx_dir / "stranger.conf").write_bytes(b"\xff")
    FrontDoor(config).write({USER: "# fine\n"})
    assert (config.nginx_dir / f"{USER}.conf").read_text() == "# fine\n"
    assert not (config.nginx_dir / "stranger.conf").exists()


# Values of a wrong kind, or that mean harm


@pytest.mark.parametrize("path", list(places(record().to_json())), ids=lambda path: ".".join(map(str, path)))
def test_no_value_in_a_record_ends_in_anything_but_a_refusal(tmp_path: Path, path: tuple[Any, ...]) -> None:
    refused = 0
    for value in (*WRONG_TYPES, *HOSTILE):
        (tmp_path / f"{USER}.json").write_text(json.dumps(changed(record().to_json(), path, value)))
        found = outcome(lambda: Records(tmp_path).get(USER))
        if found is None:
            refused += 1
        else:
            named = (found.user, found.codebase, found.job, found.applied.release, *found.set_aside)
            assert not {*map(str, HOSTILE)} & {str(name) for name in named}
    # An entry is checked when something is made of it, a snapshot's id when it is used.
    if "entry" not in path[:-1] and path[0] != "snapshots":
        assert refused > 0


@pytest.mark.parametrize("path", list(places(journal().to_json())), ids=lambda path: ".".join(map(str, path)))
def test_no_value_in_a_journal_ends_in_anything_but_a_refusal(tmp_path: Path, path: tuple[Any, ...]) -> None:
    for value in (*WRONG_TYPES, *HOSTILE):
        (tmp_path / "job-1.json").write_text(json.dumps(changed(journal().to_json(), path, value)))
        for found in outcome(lambda: JournalStore(tmp_path).load()) or []:
            assert found.job_id == "job-1"
            assert [each.action.user for each in found.actions] in ([USER], [])


@pytest.mark.parametrize("commit", [None, 7, "", "main", "A" * 40, "1" * 39])
def test_a_recorded_generation_without_a_commit_is_refused(config: Config, commit: object) -> None:
    config.generation_file.write_text(json.dumps({"commit": commit, "toplevel": "/nix/store/x"}))
    assert "remove it" in refusal(lambda: Generation.recorded(config))


@pytest.mark.parametrize(
    "environments",
    [
        *({name: {"uid": 1002}} for name in HOSTILE),
        *({name: {"uid": 1002}} for name in ("root", "www-data", "default", "nginx", "drupal-main")),
        *({USER: {"uid": uid}} for uid in (*WRONG_TYPES, 0, 1001, 60000, 65534, 2**32, "1002")),
        *({USER: entry} for entry in WRONG_TYPES if entry not in ({}, {"x": 1})),
        {USER: {"uid": 1002}, "shop-main-1234567": {"uid": 1002}},
        {USER: {}},
    ],
)
def test_a_hostile_slice_makes_nothing(
    config: Config, generation: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, environments: Any
) -> None:
    monkeypatch.setattr(
        "hostenv_node.comin.switch.ensure_users", lambda *_: pytest.fail("accounts were made")
    )
    toplevel = generation(C1, environments=environments)
    assert "the provider's answer" in refusal(lambda: switch(config, toplevel))
    assert [path.name for path in config.state_dir.iterdir()] == ["switch.lock"]


@pytest.mark.parametrize("user", [*HOSTILE, *WRONG_TYPES, "root", "default"])
def test_an_intent_for_somebody_else_fails_its_job_and_is_not_taken_on(
    configure: Callable[..., Config],
    provider: Provider,
    operations: RecordedOperations,
    monkeypatch: pytest.MonkeyPatch,
    generation: Callable[..., Path],
    user: Any,
) -> None:
    monkeypatch.setattr("hostenv_node.comin.switch.ensure_users", lambda *_: None)
    config = configure(url=provider.url)
    provider.add_job("job", C1, {"node-b": [action("deactivate", user)]})
    switch(config, generation(C1))
    Activation(config, Api(config), operations, lambda _: None, lambda _: None).run()
    assert operations.calls == []
    assert provider.events == [("job", "failed", "intent")]
    assert provider.bodies[0]["message"].isprintable()
    assert not config.jobs_dir.exists()


def rendered(config: Config, layout: Layout, document: Any) -> list[str]:
    """Everything that is made of an entry: paths and contents."""
    environment = parse_environment(document)
    files = render(environment, layout, config).files
    return [
        front_door(environment, layout, 80),
        *(text for file in files for text in (file.path, file.content)),
    ]


@pytest.mark.parametrize("path", list(places(PHP_ENTRY)), ids=lambda path: ".".join(map(str, path)))
def test_nothing_hostile_is_rendered(config: Config, tmp_path: Path, path: tuple[Any, ...]) -> None:
    """nginx, PHP-FPM, systemd, MariaDB, PHP and the shell get what was meant, or the entry is refused."""
    layout = Layout(USER, 1002, "drupal", tmp_path / "home", tmp_path / "frozen", tmp_path / "run")
    meant = "\n".join(rendered(config, layout, PHP_ENTRY))
    for value in HOSTILE:
        for document in (changed(PHP_ENTRY, path, value), changed(PHP_ENTRY, path, {str(value): {}})):
            texts = outcome(lambda document=document: rendered(config, layout, document)) or []
            assert str(value) in meant or not [text for text in texts if str(value) in text]
