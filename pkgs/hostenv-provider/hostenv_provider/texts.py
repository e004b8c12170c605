"""Texts that others wrote, for a log or a terminal."""


def one_line(text: str, most: int) -> str:
    """`text` on one line of at most `most` printable characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= most else line[: most - 1] + "…"


def printable(text: str) -> str:
    """`text` without anything that moves a cursor or ends a line."""
    return "".join(each if each.isprintable() else "?" for each in text)
