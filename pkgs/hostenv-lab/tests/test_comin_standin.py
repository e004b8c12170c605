"""The stand-in for comin by itself; what it shares with comin is in tests/conformance."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hostenv_lab import comin_standin
from hostenv_lab.comin_standin.commands import derivation_paths
from hostenv_lab.comin_standin.config import Config
from hostenv_lab.comin_standin.errors import CominError
from hostenv_lab.comin_standin.yaml_subset import YamlSubset
from hostenv_lab.program import write_program

PACKAGE = Path(comin_standin.__file__).parent

CONFIGURATION = """\
hostname: node-a  # its attribute in the flake
state_dir: {state}
repository_type: flake
remotes:
  - name: origin
    url: http://provider/git/nodes/node-a.git
    auth: {{"access_token_path": "{token}", "username": "node-a"}}
    poller:
      period: 5
    branches:
      main:
        name: main
build_confirmer: {{"mode": "without"}}
deploy_confirmer: {{"mode": "without"}}
retention:
  deployment_boot_entry_capacity: 1
  deployment_successful_capacity: 2
  deployment_any_capacity: 3
post_deployment_command: /usr/bin/hostenv-comin-activate
unknown_key: ignored
"""


@pytest.fixture
def configuration(tmp_path: Path) -> str:
    (tmp_path / "token").write_text("secret\n")
    return CONFIGURATION.format(state=tmp_path / "state", token=tmp_path / "token")


def load(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "comin.yaml"
    path.write_text(text)
    return Config.load(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("---\na: 1\n", {"a": 1}),
        ("a:\nb: ~\nc: true\n", {"a": None, "b": None, "c": True}),
        ("a: x#y # comment\nb: 'it''s # text'\nc: \"\\u00e9\"\n", {"a": "x#y", "b": "it's # text", "c": "é"}),
        ("a: http://host:80/path\n", {"a": "http://host:80/path"}),
        ("a:\n- 1\n- b: 2\n  c: 3\n", {"a": [1, {"b": 2, "c": 3}]}),
        ("- - 1\n  - 2\n-\n  a: 3\n", [[1, 2], {"a": 3}]),
        ('a: []\nb: {}\nc: [1, "x"]\n', {"a": [], "b": {}, "c": [1, "x"]}),
        ('{"a": {"b": [null, false]}}', {"a": {"b": [None, False]}}),
    ],
)
def test_yaml_that_is_read(text: str, value: object) -> None:
    assert YamlSubset.parse(text) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\na: 2\n", "line 2: key 'a' is here twice"),
        ("a: &anchor x\n", "line 1: .*outside"),
        ("a: |\n  text\n", "line 1: .*outside"),
        ("a: 'open\n", "line 1: a quoted text must end"),
        ("a: [x, y]\n", "line 1: not a quoted text or JSON"),
        ("a: 1\n   b: 2\n", "line 2: unexpected indentation"),
        ("a\n", "line 1: expected 'key: value'"),
    ],
)
def test_yaml_that_is_refused(text: str, problem: str) -> None:
    with pytest.raises(CominError, match=problem):
        YamlSubset.parse(text)


def test_configuration_is_read(tmp_path: Path, configuration: str) -> None:
    config = load(tmp_path, configuration)
    [remote] = config.remotes
    assert config.socket == tmp_path / "state/grpc.sock"
    assert config.hook == "/usr/bin/hostenv-comin-activate"
    assert (remote.token, remote.username, remote.period) == ("secret", "node-a", 5)
    assert (remote.branch, remote.operation, remote.timeout) == ("main", "switch", 300)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("repository_type: flake", "repository_type: nix", "repository_type"),
        (
            'build_confirmer: {"mode": "without"}',
            'build_confirmer: {"mode": "manual"}',
            "build_confirmer.mode",
        ),
        ("deployment_any_capacity: 3", "deployment_any_capacity: 0", "retention.deployment_any_capacity"),
        ("      main:\n", "      testing:\n        name: next\n      main:\n", "testing branches"),
        ("unknown_key: ignored", "submodules: true", "submodules"),
        ("unknown_key: ignored", 'gpg_public_key_paths: ["/key"]', "gpg_public_key_paths"),
        ("hostname: node-a", "host: node-a", "'hostname' is missing"),
        ("remotes:\n  -", "remotes:\n  - text\n  -", "of another kind"),
        (
            "  - name: origin\n    url: http://provider/git/nodes/node-a.git",
            "  - name: origin",
            "'url' is missing",
        ),
    ],
)
def test_configuration_that_is_refused(
    tmp_path: Path, configuration: str, old: str, new: str, problem: str
) -> None:
    assert old in configuration
    with pytest.raises(CominError, match=f"comin.yaml: .*{problem}"):
        load(tmp_path, configuration.replace(old, new))


@pytest.mark.parametrize(
    "shown",
    [
        '{"/nix/store/a.drv": {"outputs": {"out": {"path": "/nix/store/a"}}}}',
        '{"version": 4, "derivations": {"a.drv": {"outputs": {"out": {"path": "a"}}}}}',
    ],
)
def test_both_forms_of_a_shown_derivation(shown: str) -> None:
    assert derivation_paths(shown) == ("/nix/store/a.drv", "/nix/store/a")


def test_the_program_is_one_reproducible_file_that_says_what_it_is(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_program(PACKAGE, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    done = subprocess.run(
        [tmp_path / "one", "--version"],
        cwd="/",
        env={},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "stand-in" in done.stdout
    assert "not comin" in done.stdout


def test_a_client_without_a_daemon_fails_in_one_line(tmp_path: Path) -> None:
    program = tmp_path / "comin"
    write_program(PACKAGE, program)
    command = [str(program), "status", "--json", "--unix-socket-path", str(tmp_path / "none.sock")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "none.sock" in done.stderr
