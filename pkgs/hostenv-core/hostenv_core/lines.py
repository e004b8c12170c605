"""Makes text that others wrote or chose fit for one line of a log, a report or a terminal."""


def printable(string: str) -> str:
    """`string` without anything that moves a cursor, ends a line or cannot be encoded (lone surrogates)."""
    return "".join(each if each.isprintable() else "?" for each in string)


def one_line(string: str, most: int) -> str:
    """`string` on one line of at most `most` printable characters; what is cut off is its end."""
    line = printable(" ".join(string.split()))
    return line if len(line) <= most else line[: most - 1] + "…"


def tail(string: str, most: int) -> str:
    """The last `most` characters of `string` at most, printable and on one line."""
    # Cut first, because it may be of any length.
    return printable(" ".join(string.rstrip()[-4 * most :].split())[-most:])


def last_lines(output: bytes, most: int) -> str:
    """The end of a program's output in one line of at most `most` characters: its last lines that fit whole.

    A statement or a path of any length may stand before the reason.
    """
    text = output[-4 * most :].decode("utf-8", "replace").rstrip()
    end = text[-most:]
    if len(end) < len(text) or len(output) > 4 * most:
        # The first of these lines is cut.
        end = end.partition("\n")[2] or end
    return tail(end, most)


def shown(string: str) -> str:
    """`string` quoted on one line and cut to a readable length, for messages about what others chose."""
    return repr(string if len(string) <= 80 else string[:77] + "...")
