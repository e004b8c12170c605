from collections.abc import Callable

import pytest
from hostenv_core.errors import InvalidData
from hostenv_core.json_value import Value

DOCUMENT = {"node": "a", "ports": [80, "x"], "none": None, "flag": True, "inner": {"b\n": 1, "a": 2}}


def document(most: int | None = None) -> Value:
    return Value(DOCUMENT, "file", most=most, remedy="correct it")


def test_what_is_absent_or_null_has_its_default() -> None:
    for key in ("none", "absent"):
        assert document().member(key, "default").text() == "default"
        assert document().optional(key) is None
        assert document().flag(key) is False
    assert document().member("node", "default").text() == "a"
    assert document().flag("flag") is True
    assert (
        document().member("inner").member("a").integer(2) == document().member("inner").member("a").number()
    )


@pytest.mark.parametrize(
    ("read", "problem"),
    [
        (lambda: document().member("absent"), "absent: is missing"),
        (lambda: document().member("node").integer(1), "node: must be a whole number from 1 on"),
        (lambda: document().member("flag").integer(0, 9), "flag: must be a whole number from 0 to 9"),
        (lambda: document().member("flag").number(), "flag: must be a number"),
        (lambda: document().member("node").mapping(), "node: must be an object"),
        (lambda: document().member("node").member("x"), "node: must be an object"),
        (lambda: [each.text() for each in document().member("ports").items()], "ports[0]: must be a string"),
        (lambda: document().member("inner").object()["b\n"].text(), "inner.b?: must be a string"),
        (lambda: document().members(["node"]), "unknown key 'flag', known are node"),
        (lambda: list(document(most=1).member("ports").items()), "ports: has 2 elements, 1 are the most"),
        (lambda: Value("", "x").secret(), "must not be empty"),
    ],
)
def test_an_error_names_source_place_problem_and_remedy(read: Callable[[], object], problem: str) -> None:
    with pytest.raises(InvalidData) as caught:
        read()
    assert str(caught.value) in (f"file: {problem}: correct it", f"x: {problem}")


def test_no_error_shows_a_secret() -> None:
    for value in (["hunter2"], {"hunter2": 1}, 1):
        with pytest.raises(InvalidData) as caught:
            Value(value, "x").secret()
        assert "hunter2" not in str(caught.value)
