"""The machine's configuration, and the variables that win over it."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from hostenv_core.errors import HostenvError
from hostenv_node.cli import COMMANDS, main
from hostenv_node.comin.status import BrokenCommit, broken_in
from hostenv_node.config import Config
from hostenv_node.environment.layout import Layout
from hostenv_node.environment.request import Request
from node_support import C1

FILE = {"node": "node-a", "apiBaseUrl": "http://provider/", "frontDoorGroup": "www-data"}


def load(path: Path, content: object, environ: dict[str, str] | None = None) -> Config:
    path.write_text(json.dumps(content))
    return Config.load(path, environ or {})


def test_defaults_are_the_contracts(tmp_path: Path) -> None:
    config = load(tmp_path / "node.json", FILE)
    assert config.api_base_url == "http://provider"
    assert (config.token_file, config.action_timeout) == (Path("/etc/hostenv/node-token"), 900)
    assert config.parallel_jobs == 4
    assert config.jobs_dir == Path("/var/lib/hostenv/jobs")
    # not below /run, which a reboot empties
    assert config.freeze_dir == Path("/var/lib/hostenv/freeze")


def test_variables_of_the_hook_win(tmp_path: Path) -> None:
    environ = {
        "HOSTENV_COMIN_NODE_NAME": "11",
        "HOSTENV_COMIN_API_BASE_URL": "http://other",
        "HOSTENV_COMIN_TOKEN_FILE": "/run/token",
        "HOSTENV_COMIN_ACTION_TIMEOUT": "60",
    }
    config = load(tmp_path / "node.json", FILE, environ)
    assert (config.node, config.api_base_url) == ("11", "http://other")
    assert (config.token_file, config.action_timeout) == (Path("/run/token"), 60)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({}, "node"),
        (FILE | {"node": 3}, "node"),
        (FILE | {"actionTimeout": "soon"}, "actionTimeout"),
        (FILE | {"frontDoorPort": 0}, "frontDoorPort"),
        (FILE | {"parallelJobs": 0}, "parallelJobs"),
        (FILE | {"parallelJobs": 65}, "from 1 to 64"),
        (FILE | {"tools": {"git": None}}, "git"),
        (FILE | {"tools": []}, "object"),
        (FILE | {"applications": {"drupal": {"docroot": "."}}}, "root"),
        ([], "object"),
    ],
)
def test_mistake_is_named_with_its_file(tmp_path: Path, content: object, key: str) -> None:
    with pytest.raises(HostenvError, match=key) as raised:
        load(tmp_path / "node.json", content)
    assert str(tmp_path) in str(raised.value)


def test_missing_tool_is_named(configure: Callable[..., Config]) -> None:
    with pytest.raises(HostenvError, match="restic"):
        configure().tool("restic")


@pytest.mark.parametrize(
    "arguments",
    [[], ["dance"], ["switch"], ["switch", "a", "b"], ["activate", "x"], ["job"], ["job", "a", "--json"]],
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage: hostenv-node" in capsys.readouterr().err


def test_failure_ends_with_1_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOSTENV_NODE_CONFIG", str(tmp_path / "none.json"))
    assert main(["activate"]) == 1
    assert capsys.readouterr().err.startswith(f"hostenv-node: {tmp_path}/none.json is missing")


def test_the_users_side_answers_without_a_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOSTENV_NODE_CONFIG", str(tmp_path / "none.json"))
    layout = Layout("drupal-main-2855093", 1002, "drupal", tmp_path, tmp_path / "frozen")
    request = Request(layout, {}, 60, ())
    monkeypatch.setattr("sys.stdin", StringIO(request.to_json()))
    assert main(["user-apply"]) == 0
    assert json.loads(capsys.readouterr().out) == {"results": {}, "left": []}


def test_every_command_is_in_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in COMMANDS)


GENERATION = {"selected_commit_id": C1, "eval_err": "", "build_err": ""}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, None),
        ({"builder": None}, None),
        ({"builder": {"generation": None}}, None),
        ({"builder": {"generation": GENERATION}}, None),
        ({"builder": {"generation": GENERATION | {"selected_commit_id": "", "eval_err": "x"}}}, None),
        (
            {"builder": {"generation": GENERATION | {"build_err": "no disk"}}},
            BrokenCommit(C1, f"comin could not build {C1}: no disk"),
        ),
        (
            {"builder": {"generation": GENERATION | {"eval_err": "no attribute"}}},
            BrokenCommit(C1, f"comin could not evaluate {C1}: no attribute"),
        ),
    ],
)
def test_what_comin_says_about_its_selected_commit(status: dict[str, object], expected: object) -> None:
    assert broken_in(status) == expected
