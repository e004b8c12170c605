"""Node tokens (contract 4, 6) and environments' secrets (contract 8)."""

import hmac
import json
from typing import Any

import pytest
from hostenv_core.errors import HostenvError
from hostenv_provider.config import Config
from hostenv_provider.secrets import tokens
from hostenv_provider.secrets.environment_secrets import EnvironmentSecrets
from hostenv_provider.secrets.tokens import TokenFile, Tokens, matches

USER = "drupal-main-2855093"


def test_a_token_opens_only_its_own_node() -> None:
    tokens = Tokens({"node-a": "aaa", "node-b": "bbb"}, {"node-a": ("old", "older")})
    assert matches(tokens, "node-a", "aaa") == (True, True)
    assert matches(tokens, "node-a", "older") == (True, False)
    for node, given in (
        ("node-a", "bbb"),
        ("node-b", "old"),
        ("node-c", ""),
        ("node-a", ""),
        ("node-a", "é"),
    ):
        assert matches(tokens, node, given) == (False, False)
    assert matches(Tokens({"node-a": ""}, {}), "node-a", "") == (False, False)
    assert matches(Tokens({"node-a": "new"}, {"node-a": ("",)}), "node-a", "") == (False, False)


def test_every_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, expected: bytes) -> bool:
        compared.append((given, expected))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    tokens = Tokens({"node-a": "new"}, {"node-a": ("old", "older")})
    for given in ("new", "old", "older"):
        assert matches(tokens, "node-a", given) == (False, False)
        assert compared == [(given.encode(), token) for token in (b"new", b"old", b"older")]
        compared.clear()


def test_new_nodes_get_tokens_and_the_others_keep_theirs(config: Config) -> None:
    tokens = TokenFile(config)
    tokens.create(["node-a"])
    first = tokens.show("node-a")
    tokens.create(["node-a", "node-b"])
    assert tokens.show("node-a") == first
    assert tokens.missing(["node-a", "node-b", "node-c"]) == ["node-c"]
    assert config.tokens_file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(HostenvError, match="no token"):
        tokens.show("node-c")


def test_a_replaced_token_is_valid_until_the_new_one_was_used(config: Config) -> None:
    running, command_line = TokenFile(config), TokenFile(config)
    command_line.create(["node-a"])
    first = command_line.show("node-a")
    assert running.is_valid("node-a", first)
    command_line.rotate(["node-a"])
    second = command_line.show("node-a")
    command_line.rotate(["node-a"])
    third = command_line.show("node-a")
    assert len({first, second, third}) == 3
    for token in (first, second, first, third):
        assert running.is_valid("node-a", token)
    for token in (first, second):
        assert not running.is_valid("node-a", token)
    assert running.is_valid("node-a", third)
    assert json.loads(config.previous_tokens_file.read_text()) == {}


def test_a_rotation_while_the_token_before_is_first_used_takes_no_valid_token(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, command_line = TokenFile(config), TokenFile(config)
    command_line.create(["node-a"])
    command_line.rotate(["node-a"])
    second = command_line.show("node-a")
    compare = tokens.matches

    def compare_and_rotate(*arguments: Any) -> tuple[bool, bool]:
        found = compare(*arguments)
        command_line.rotate(["node-a"])
        return found

    with monkeypatch.context() as patched:
        patched.setattr(tokens, "matches", compare_and_rotate)
        assert running.is_valid("node-a", second)

    assert running.is_valid("node-a", second)
    assert running.is_valid("node-a", command_line.show("node-a"))
    assert not running.is_valid("node-a", second)


def test_a_node_that_is_gone_opens_nothing(config: Config) -> None:
    running, command_line = TokenFile(config), TokenFile(config)
    command_line.create(["node-a", "node-b"])
    old = command_line.show("node-b")
    command_line.rotate(["node-b"])
    kept, new = command_line.show("node-a"), command_line.show("node-b")

    assert command_line.others(["node-a"]) == ["node-b"]
    command_line.revoke(["node-b"])

    assert not running.is_valid("node-b", new)
    assert not running.is_valid("node-b", old)
    assert running.is_valid("node-a", kept)
    assert command_line.others(["node-a"]) == []


def test_a_rotation_needs_a_token(config: Config) -> None:
    tokens = TokenFile(config)
    tokens.create(["node-a"])
    kept = tokens.show("node-a")
    with pytest.raises(HostenvError, match="run hostenv-provider comin-tokens first"):
        tokens.rotate(["node-a", "node-b"])
    assert tokens.show("node-a") == kept


@pytest.mark.parametrize("text", ["", "[]", '{"node-a": 7}', "\x00"])
def test_damaged_tokens_are_an_error_and_no_admission(config: Config, text: str) -> None:
    config.tokens_file.parent.mkdir(parents=True)
    config.tokens_file.write_text(text)
    with pytest.raises(HostenvError):
        TokenFile(config).is_valid("node-a", "7")


def test_secrets_are_made_once_and_kept(config: Config) -> None:
    secrets = EnvironmentSecrets(config)
    secrets.ensure([USER])
    first = secrets.read(USER)
    assert first is not None
    assert set(first) == {"hashSalt"}
    secrets.ensure([USER])
    assert secrets.read(USER) == first
    assert (config.secrets_dir / f"{USER}.json").stat().st_mode & 0o777 == 0o600
    assert config.secrets_dir.stat().st_mode & 0o777 == 0o700


def test_a_new_hash_salt_leaves_the_rest(config: Config) -> None:
    secrets = EnvironmentSecrets(config)
    secrets.set(USER, "API_KEY", "own")
    before = secrets.read(USER) or {}
    secrets.renew_salt(USER)
    after = secrets.read(USER) or {}
    assert after["API_KEY"] == "own"
    assert after["hashSalt"] != before["hashSalt"]
    secrets.renew_salt("none-main-1234567")
    assert secrets.read("none-main-1234567") is None


def test_a_projects_own_secret(config: Config) -> None:
    secrets = EnvironmentSecrets(config)
    secrets.set(USER, "API_KEY", "one line é")
    found = secrets.read(USER)
    assert found is not None
    assert found["API_KEY"] == "one line é"
    secrets.set(USER, "API_KEY", "new")
    assert secrets.read(USER) == {**found, "API_KEY": "new"}


def test_two_secrets_are_never_one_variable(config: Config) -> None:
    secrets = EnvironmentSecrets(config)
    secrets.set(USER, "api_key", "x")

    with pytest.raises(HostenvError, match="has api_key, the same variable"):
        secrets.set(USER, "API_KEY", "y")

    assert "API_KEY" not in (secrets.read(USER) or {})


@pytest.mark.parametrize(
    ("user", "key", "value"),
    [
        (USER, "backupPassword", "x"),
        (USER, "1st", "x"),
        (USER, "a b", "x"),
        (USER, "", "x"),
        (USER, "KEY", ""),
        (USER, "KEY", "x" * 70_000),
        (USER, "KEY", "a\0b"),
        (USER, "KEY", "a\nb"),
        (USER, "KEY", "a\tb"),
        (USER, "KEY", "a\x7fb"),
        ("../../etc/passwd", "KEY", "x"),
        ("root", "KEY", "x"),
    ],
)
def test_a_bad_secret_leaves_no_trace(config: Config, user: str, key: str, value: str) -> None:
    secrets = EnvironmentSecrets(config)
    with pytest.raises(HostenvError):
        secrets.set(user, key, value)
    assert not list(config.data_dir.glob("**/*.json"))


def test_secrets_of_strange_names_do_not_exist(config: Config) -> None:
    assert EnvironmentSecrets(config).read("../tokens") is None
    assert EnvironmentSecrets(config).read(USER) is None
