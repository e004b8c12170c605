import io
from collections.abc import Callable, Iterator

import pytest
from hostenv_demo.console import Console
from hostenv_demo.stages import END, STAGES
from hostenv_demo.wizard import Wizard
from test_stages import WORDS

FIRST = next(iter(STAGES))


def pressing(keys: Iterator[str]) -> Callable[[Callable[[], None]], str]:
    """A keyboard: these keys, one after each question."""

    def read(ask: Callable[[], None]) -> str:
        ask()
        return next(keys)

    return read


def shown_for(keys: str, name: str = FIRST) -> str:
    """What the wizard shows before a stage while these keys are pressed; all of them must be read."""
    stream = io.StringIO()
    pressed: Iterator[str] = iter(keys)
    wizard = Wizard(Console(stream), pressing(pressed), {**WORDS, "site": "http://127.0.0.1:8080"})
    try:
        wizard.before(name)
    finally:
        assert next(pressed, None) is None
    return stream.getvalue()


def test_enter_goes_on_after_explanation_and_commands() -> None:
    shown = shown_for("\n")
    assert f"-- 1 of {len(STAGES)}: {FIRST}" in shown
    assert "http://127.0.0.1:8080/" in shown
    assert "     cat ./w/endpoints.json\n" in shown
    assert shown.count("<Enter> goes on") == 1


@pytest.mark.parametrize("key", ["a", "A"])
def test_a_aborts(key: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        shown_for(key)


def test_any_other_key_explains_the_keys_and_asks_again() -> None:
    shown = shown_for("x\x1b \n")
    assert shown.count("machines, network and work folder are removed") == 3
    assert shown.count("a aborts and cleans up: ") == 4


def test_a_stage_that_nobody_explained_can_be_passed() -> None:
    assert "A new stage" in shown_for("\n", "A new stage")


def test_after_the_last_stage_people_may_look_around() -> None:
    stream = io.StringIO()
    Wizard(Console(stream), pressing(iter("\n")), {**WORDS, "site": "http://127.0.0.1:8080"}).end()
    assert END.explanation.split()[0] in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(("key", "agreed"), [("y", True), ("Y", True), ("n", False), ("\n", False)])
def test_only_yes_is_yes(key: str, agreed: bool) -> None:
    assert Wizard(Console(io.StringIO()), pressing(iter(key)), WORDS).agrees("Shall it?") == agreed


def test_a_question_fits_into_80_columns() -> None:
    stream = io.StringIO()
    Wizard(Console(stream), pressing(iter("n")), WORDS).agrees(f"Shall it? {'And more words. ' * 9}")
    assert max(map(len, stream.getvalue().splitlines())) <= 80


def test_after_a_failure_people_may_look_around_too() -> None:
    stream = io.StringIO()
    words = {**WORDS, "site": "http://127.0.0.1:8080"}
    Wizard(Console(stream), pressing(iter("\n")), words).failed()
    assert "The machines are still up" in stream.getvalue()
    assert "     ls ./w/logs\n" in stream.getvalue()
