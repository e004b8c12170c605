"""Files that are damaged or mean harm: refused in one line, and nothing is made of them or lost."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostenv_core.errors import HostenvError
from hostenv_core.states import JobState
from hostenv_provider.cli import main
from hostenv_provider.config import PATH_VARIABLE, Config
from hostenv_provider.plan.definitions import parse_environments
from hostenv_provider.plan.generated import render
from hostenv_provider.plan.plan import Environment, Plan, Reservation, State
from hostenv_provider.plan.settings import ProviderSettings
from hostenv_provider.secrets.environment_secrets import EnvironmentSecrets
from hostenv_provider.secrets.tokens import TokenFile
from provider_support import Machine

DAMAGED = {
    "empty": b"",
    "cut short": b'{"node-a": "4f',
    "not UTF-8": b'{"node-a": "\xff\xfe"}',
    "nested too deeply": b"[" * 100_000,
    "zeros": b"\0" * 4096,
    "a list": b"[]",
    "a number": b"7",
    "a text": b'"node-a"',
    "null": b"null",
    "a list inside": b'{"node-a": ["x"], "backupPassword": {}}',
}
HOSTILE = [
    "../../etc/passwd",
    "a b",
    "a\nb: c",
    'a"b',
    "a'b",
    "a;b",
    "a{b}",
    "${builtins.abort 1}",
    "$(touch x)",
    "`touch x`",
    "%h",
    "--upload-pack=x",
    "a\0b",
    "\u202eb",
    "x" * 300,
    "",
]
WRONG_TYPES: list[Any] = [None, True, -1, 0.5, 10**30, [], {}, [["x"]], {"x": 1}]
# Texts of one line that are only shown, compared with a page, or asked for with a request.
FREE_TEXT = ("name", "value", "email", "path")

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


def changes(document: Any) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """Path, value and document for every place with every value that should not be there, also as a key."""
    for path in places(document):
        for value in (*WRONG_TYPES, *HOSTILE):
            made = copy.deepcopy(document)
            inner = made
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value
            yield path, value, made
            if isinstance(inner, dict) and isinstance(value, str):
                inner[value] = inner.pop(path[-1])
                yield path, value, made


def outcome(call: Callable[[], Any]) -> Any:
    """What the call gives, None if it refuses; it must refuse in one line."""
    try:
        return call()
    except HostenvError as error:
        message = str(error)
    assert message
    assert message.isprintable(), message
    return None


@pytest.fixture
def machine(new_provider: Path, config: Config) -> Machine:
    return Machine.copy(new_provider, config)


@pytest.fixture
def command(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    document = {
        "dataDir": str(config.data_dir),
        "socket": str(config.socket),
        "user": "root",
        "publicUrl": "http://provider",
        "tools": dict(config.tools),
    }
    path = tmp_path / "provider.json"
    path.write_text(json.dumps(document))
    monkeypatch.setenv(PATH_VARIABLE, str(path))
    monkeypatch.setattr("hostenv_provider.cli.become_service_user", lambda _: None)
    return lambda *arguments: main(arguments)


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hostenv-provider: ")
    assert line.isprintable()
    return line


@damaged
def test_a_damaged_machine_configuration_ends_every_command(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / "provider.json").write_bytes(content)
    for arguments in (["plan"], ["service"], ["comin-tokens"], ["jobs"], ["trigger", "x"]):
        assert command(*arguments) == 1
        assert str(tmp_path / "provider.json") in only_line(capsys)
    assert not (tmp_path / "data").exists()


@damaged
def test_damaged_tokens_admit_nobody_and_are_not_made_anew(config: Config, content: bytes) -> None:
    """New ones would lock every node out."""
    config.data_dir.mkdir()
    config.tokens_file.write_bytes(content)
    tokens = TokenFile(config)
    calls: tuple[Callable[[], object], ...] = (
        lambda: tokens.is_valid("node-a", "x"),
        lambda: tokens.show("node-a"),
        lambda: tokens.create(["node-a"]),
        lambda: tokens.rotate(["node-a"]),
    )
    for call in calls:
        with pytest.raises(HostenvError, match=str(config.tokens_file)) as caught:
            call()
        assert str(caught.value).isprintable()
    assert config.tokens_file.read_bytes() == content


@damaged
def test_while_a_file_is_damaged_the_service_says_so_and_goes_on(
    api: Any, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """503, so that nodes come again; the log names the file in one line, the answer does not."""
    path = f"/api/deploy-intents/pending?sha={'0' * 40}&node=node-a"
    token, good = api.tokens.show("node-a"), api.config.tokens_file.read_bytes()
    api.config.tokens_file.write_bytes(content)
    answer = api.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    assert (answer.status, answer.json) == (503, {"error": "not possible now; the service's log tells why"})
    (line,) = caplog.messages
    assert str(api.config.tokens_file) in line
    assert token not in line
    assert api.request("GET", "/health").status == 200
    api.config.tokens_file.write_bytes(good)
    assert api.request("GET", path, headers={"Authorization": f"Bearer {token}"}).status == 200


@damaged
def test_damaged_secrets_of_an_environment_are_not_made_anew(config: Config, content: bytes) -> None:
    """A new hash salt would end log-ins and links that are good."""
    secrets = EnvironmentSecrets(config)
    user = "drupal-main-2855093"
    secrets.ensure([user])
    path = config.secrets_dir / f"{user}.json"
    path.write_bytes(content)
    for call in (
        lambda: secrets.ensure([user]),
        lambda: secrets.read(user),
        lambda: secrets.set(user, "A", "b"),
    ):
        with pytest.raises(HostenvError, match=str(path)) as caught:
            call()
        assert str(caught.value).isprintable()
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [*DAMAGED.values(), b"{}"], ids=[*DAMAGED, "an empty object"])
def test_damaged_secrets_of_one_environment_are_no_matter_of_the_others(
    config: Config, content: bytes
) -> None:
    """The service starts, and the others' jobs run."""
    secrets = EnvironmentSecrets(config)
    broken, sound, new = "drupal-main-2855093", "shop-main-1234567", "shop-next-1234567"
    secrets.ensure([broken, sound])
    (config.secrets_dir / f"{broken}.json").write_bytes(content)
    secrets.ensure([new])
    assert secrets.read(sound)
    with pytest.raises(HostenvError, match=f"{broken}.json"):
        secrets.ensure([broken])


@pytest.mark.parametrize("name", ["provider.json", "generated/plan.json", "generated/state.json"])
@damaged
def test_a_damaged_file_of_the_repository_fails_the_job_and_changes_nothing(
    machine: Machine, name: str, content: bytes
) -> None:
    repository = machine.repository
    with repository.locked():
        repository.sync()
        (repository.work_tree / name).write_bytes(content)
        damaged_head = repository.commit("An operator's slip")
        repository.push(damaged_head)
    job = machine.store.job(machine.run())
    assert job is not None
    assert (job.state, job.commit_sha) == (JobState.FAILED, None)
    assert job.reason is not None
    assert name in job.reason
    assert job.reason.isprintable()
    assert repository.published_head() == damaged_head


# Values of a wrong kind, or that mean harm


def test_no_value_of_the_provider_settings_means_anything_else() -> None:
    document = {
        "hostenvHostname": "demo.hostenv.test",
        "nodeFor": {"default": "node-a", "production": "node-b"},
        "nodes": {"node-a": {"address": "192.0.2.1"}, "node-b": {"address": "node-b.example.org"}},
        "environments": {"drupal-main-2855093": {"node": "node-b"}},
    }
    assert ProviderSettings.parse(document, "http://provider")
    for path, value, made in changes(document):
        found = outcome(lambda made=made: ProviderSettings.parse(made, "http://provider"))
        assert found is None or value in (None, {}), (path, value)


def test_no_value_of_a_projects_flake_means_anything_else() -> None:
    document = {
        "main": {
            "type": "production",
            "enable": True,
            "gitRef": "main",
            "application": {"name": "drupal", "docroot": "web", "profile": "demo"},
            "virtualHosts": {"demo.example.org": {"enableACME": True, "forceSSL": False}},
            "users": {"dev": {"email": "dev@example.org", "publicKeys": ["ssh-ed25519 AAAA dev"]}},
            "migrations": ["drupal-migrate"],
            "deploymentVerification": {
                "checks": [
                    {
                        "name": "front page",
                        "request": {"virtualHost": "demo.example.org", "path": "/"},
                        "constraints": [{"rule": "bodyContains", "value": "demo"}],
                    }
                ]
            },
        }
    }
    assert parse_environments(document, "demo__drupal")
    for path, value, made in changes(document):
        found = outcome(lambda made=made: parse_environments(made, "demo__drupal"))
        if isinstance(value, str) and path[-1] not in FREE_TEXT:
            assert found is None, (path, value)
        if isinstance(value, str) and ("\n" in value or "\0" in value):
            assert found is None, (path, value)


def test_no_value_of_a_plan_or_state_means_anything_else(environment: Callable[..., Environment]) -> None:
    planned = environment("main", checks=())
    user = planned.user_name
    plan = Plan("demo.hostenv.test", "http://provider", {user: planned}, ("node-a", "node-b"))
    state = State({user: Reservation(1002, "node-a", ("main.drupal.example.org",))})
    for _, value, made in changes(plan.to_json()):
        found = outcome(lambda made=made: Plan.from_json(made))
        if found is not None and isinstance(value, str) and ("\n" in value or "\0" in value):
            assert value not in "".join(path + text for path, text in render(found, state).items())
    for _, value, made in changes(state.to_json()):
        found = outcome(lambda made=made: State.from_json(made))
        if found is not None:
            assert not isinstance(value, str) or value not in "".join(render(plan, found))
