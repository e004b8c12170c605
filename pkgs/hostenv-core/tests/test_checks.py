import pytest
from hostenv_core.checks import Answer, Check, Constraint, violation


@pytest.mark.parametrize(
    ("constraint", "answer", "kept"),
    [
        (Constraint("minHttpStatus", 200), Answer(200, b""), True),
        (Constraint("minHttpStatus", 201), Answer(200, b""), False),
        (Constraint("maxHttpStatus", 200), Answer(201, b""), False),
        (Constraint("bodyContains", "é"), Answer(200, "é".encode()), True),
        (Constraint("bodyContains", "x"), Answer(200, b"y"), False),
    ],
)
def test_constraints(constraint: Constraint, answer: Answer, kept: bool) -> None:
    assert (violation(Check("c", None, "/", (constraint,)), answer) is None) is kept
