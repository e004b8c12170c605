import ast
import string

from hostenv_demo.demo import SCRIPT
from hostenv_demo.names import ROOT
from hostenv_demo.stages import END, STAGES, commands

RECORDED = ROOT / "docs" / "wizard-session.txt"
WORDS = {"enter": "./enter", "a": "http://a", "b": "http://b", "workdir": "./w", "socket": "./s"}


def stages_of_the_script() -> list[str]:
    calls = [node for node in ast.walk(ast.parse(SCRIPT.read_text())) if isinstance(node, ast.Call)]
    named = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "subtest"]
    return [str(ast.literal_eval(call.args[0])) for call in sorted(named, key=lambda call: call.lineno)]


def test_every_stage_of_the_script_has_its_text_in_the_same_order() -> None:
    assert stages_of_the_script() == list(STAGES)


def test_every_stage_says_why_and_gives_something_to_try() -> None:
    for stage in (*STAGES.values(), END):
        assert len(stage.explanation.split(". ")) <= 4
        assert stage.commands


def test_commands_need_no_word_that_a_run_does_not_have() -> None:
    for stage in (*STAGES.values(), END):
        for command in commands(stage, WORDS):
            assert not any(name for _, name, _, _ in string.Formatter().parse(command))


def test_visitors_come_from_the_move_until_the_source_has_let_go() -> None:
    assert [name.partition(":")[0] for name, stage in STAGES.items() if stage.visitors] == [
        "Move",
        "Proof",
        "Source",
    ]


def test_the_recorded_session_shows_what_the_wizard_says_now() -> None:
    # made anew by record_session.py
    recorded = " ".join(RECORDED.read_text(encoding="utf-8").split())
    for number, (name, stage) in enumerate(STAGES.items(), 1):
        said = f"-- {number} of {len(STAGES)}: {name} {' '.join(stage.explanation.split())}"
        assert said in recorded
