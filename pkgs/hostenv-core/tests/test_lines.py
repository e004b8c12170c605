import pytest
from hostenv_core.lines import last_lines, one_line, shown, tail

MOVES_CURSORS = "a\x1b[2Jb\x85c\u2028d\ud800e\r\n f\t"


def test_what_others_wrote_cannot_move_a_cursor_or_end_a_line() -> None:
    assert one_line(MOVES_CURSORS, 99) == tail(MOVES_CURSORS, 99) == "a?[2Jb c d?e f"


def test_one_end_is_cut_off() -> None:
    assert one_line("one two three", 7) == "one tw…"
    assert one_line("one two", 7) == "one two"
    assert tail("one two three  \n", 5) == "three"


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (b"first\nreason", "first reason"),
        (b"a statement of any length\nreason\n", "reason"),
        (b"x" * 99 + b"the reason", "the reason"),
        (b"y\n" * 99 + "réason".encode(), "y réason"),
        (b"\xff", "\ufffd"),
        (b"", ""),
    ],
)
def test_the_last_lines_that_fit_whole(output: bytes, shown: str) -> None:
    assert last_lines(output, 12 if b"first" in output else 10) == shown


def test_a_name_is_quoted_and_cut() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown("x" * 1000)) == 82
