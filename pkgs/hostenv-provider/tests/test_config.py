"""`/etc/hostenv/provider.json`: what it may hold, and what each mistake says."""

import json
from ipaddress import ip_network
from pathlib import Path

import pytest
from hostenv_core.errors import HostenvError
from hostenv_provider.config import PATH_VARIABLE, Config


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "provider.json"
    monkeypatch.setenv(PATH_VARIABLE, str(path))
    return path


def test_places_have_defaults_and_the_address_is_given(path: Path) -> None:
    path.write_text('{"publicUrl": "http://provider/"}')
    config = Config.load()
    assert config.public_url == "http://provider"
    assert config.database == Path("/var/lib/hostenv-provider/provider.sqlite3")
    assert config.socket == Path("/run/hostenv-provider/hostenv-provider.sock")
    assert (config.user, config.job_timeout, config.verify_timeout) == ("hostenv-provider", 7200, 300)


def test_tools_are_named_by_absolute_paths(path: Path) -> None:
    path.write_text('{"publicUrl": "http://provider", "tools": {"git": "/usr/bin/git"}}')
    config = Config.load()
    assert config.tool("git") == "/usr/bin/git"
    with pytest.raises(HostenvError, match="no path of 'nix'"):
        config.tool("nix")


def test_projects_come_from_the_internet_unless_more_is_named(path: Path) -> None:
    path.write_text('{"publicUrl": "http://p"}')
    assert (Config.load().source_folders, Config.load().source_networks) == ((), ())
    path.write_text(
        '{"publicUrl": "http://p", "sourceFolders": ["/srv"], "sourceNetworks": ["10.1.0.0/16", "fd00::1"]}'
    )
    assert Config.load().source_folders == (Path("/srv"),)
    assert Config.load().source_networks == (ip_network("10.1.0.0/16"), ip_network("fd00::1"))


def test_what_ended_is_kept_for_three_months_unless_told_otherwise(path: Path) -> None:
    path.write_text('{"publicUrl": "http://p"}')
    assert (Config.load().job_retention, Config.load().delivery_retention) == (90, 30)
    path.write_text('{"publicUrl": "http://p", "retention": {"jobs": 7}}')
    assert (Config.load().job_retention, Config.load().delivery_retention) == (7, 30)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("[]", "must hold a JSON object"),
        ("{}", "publicUrl: is missing"),
        ('{"publicUrl": "provider"}', "http:// or https://"),
        ('{"publicUrl": "http://a\\nb"}', "one line"),
        ('{"publicUrl": "http://p", "dataDir": "data"}', "absolute path"),
        ('{"publicUrl": "http://p", "jobTimeout": 0}', "jobTimeout: must be a whole number from 1 to"),
        (
            '{"publicUrl": "http://p", "jobTimeout": true}',
            "jobTimeout: must be a whole number from 1 to",
        ),
        (
            '{"publicUrl": "http://p", "backupQuota": 1}',
            "backupQuota: must be a whole number from 16777216",
        ),
        ('{"publicUrl": "http://p", "verifyTimeout": "300"}', "verifyTimeout: must be a whole number"),
        ('{"publicUrl": "http://p", "retention": 90}', "retention: must be an object"),
        ('{"publicUrl": "http://p", "retention": {"job": 90}}', "retention: unknown key 'job'"),
        (
            '{"publicUrl": "http://p", "retention": {"deliveries": 0}}',
            "retention.deliveries: must be a whole number from 1 to 36500",
        ),
        ('{"publicUrl": "http://p", "tools": ["git"]}', "tools: must be an object"),
        (
            '{"publicUrl": "http://p", "tools": {"git": "git"}}',
            "tools.git: 'git' is not valid as an absolute",
        ),
        ('{"publicUrl": "http://p", "sourceFolders": "/srv"}', "sourceFolders: must be a list"),
        (
            '{"publicUrl": "http://p", "sourceFolders": ["srv"]}',
            "sourceFolders[0]: 'srv' is not valid",
        ),
        ('{"publicUrl": "http://p", "sourceNetworks": [1]}', "sourceNetworks[0]: must be a string"),
        (
            '{"publicUrl": "http://p", "sourceNetworks": ["10.1.2.3/16"]}',
            "host bits set: write a network",
        ),
        ('{"publicUrl": "http://p", "jobTimout": 1}', "unknown key 'jobTimout'"),
    ],
)
def test_a_mistake_is_named_with_its_file(path: Path, text: str, says: str) -> None:
    path.write_text(text)
    with pytest.raises(HostenvError) as raised:
        Config.load()
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert says in message
    assert "\n" not in message


def test_an_absent_file_is_named(path: Path) -> None:
    with pytest.raises(HostenvError, match=f"{path}: is missing: write"):
        Config.load()


def test_a_given_path_comes_before_the_variable(path: Path, tmp_path: Path) -> None:
    path.write_text("{}")
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"publicUrl": "http://other"}))
    assert Config.load(other).public_url == "http://other"
