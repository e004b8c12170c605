"""What the user's side answers is its user's word: it may be anything, and root takes no harm from it."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment.layout import Layout
from hostenv_node.environment.steps import LoadUnits
from hostenv_node.errors import OperationFailed
from hostenv_node.runtime.as_user import user_apply
from runtime_support import Systemd

Ask = Callable[[str], object]


@pytest.fixture
def ask(config: Config, layout: Layout, played: Systemd, tmp_path: Path) -> Ask:
    """Have a program of the user's answer instead."""
    helper = tmp_path / "hostenv-node"
    helper.touch(mode=0o755)

    def answer(script: str) -> object:
        helper.write_text(f"#!{sys.executable}\n{script}\n")
        tools = {
            **config.tools,
            **played.tools,
            "hostenv-node": str(helper),
        }
        return user_apply(replace(config, tools=tools), layout, Deadline.after(60), [LoadUnits()])

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        "[" * 100_000,
        '{"results":' * 100_000,
        json.dumps({"results": "no"}),
        json.dumps({"results": 7}),
        json.dumps([]),
        json.dumps({"error": "x"}),
        '{"error": ' + "[" * 900 + "]" * 900 + "}",
        "",
        "NaN",
    ],
    ids=lambda answer: answer[:20],
)
def test_an_answer_of_any_form_ends_in_one_line(ask: Ask, answer: str) -> None:
    for status in (0, 1):
        with pytest.raises(OperationFailed) as caught:
            ask(f"import sys\nsys.stdout.write({answer!r})\nsys.stderr.write('a\\nb')\nsys.exit({status})")
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("unit_failed", [False, True])
def test_a_message_of_any_kind_becomes_one_printable_line(ask: Ask, unit_failed: bool) -> None:
    message = "first\nhostenv-node: forged \ud800\x1b[2J" + "x" * 1_000_000 + " last"
    answer = json.dumps({"error": message, "timedOut": False, "unitFailed": unit_failed})
    with pytest.raises(OperationFailed) as caught:
        ask(f"print({answer!r})\nraise SystemExit(1)")
    assert str(caught.value).isprintable()
    assert "last" in str(caught.value)
    assert len(str(caught.value)) < 10_000


def test_nothing_of_the_users_own_is_loaded(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONNOUSERSITE", raising=False)
    flags = "{'usercustomize': not sys.flags.no_user_site, 'folders': not sys.flags.safe_path}"
    found = ask(f"import json, sys\nprint(json.dumps({{'results': {{'LoadUnits': {flags}}}}}))")
    assert found == {LoadUnits: {"usercustomize": False, "folders": False}}
