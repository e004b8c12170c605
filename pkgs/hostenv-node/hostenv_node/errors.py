"""Errors whose text is meant for people: what went wrong, where, and what to do."""


class HostenvError(Exception):
    """Base of every error that a command reports in one line and ends with exit status 1."""


class OperationFailed(HostenvError):
    """The operation ended without its result; the message goes to the job."""


class OperationTimedOut(OperationFailed):
    """The operation did not end before its deadline."""


def one_line(text: str, most: int) -> str:
    """What a stranger's program said, fit for logs and reports: printable, in one line, its last characters.

    Lone surrogates, which JSON can carry and no encoder takes, and control characters become `?`.
    """
    # Cut before it is looked at, for it may be of any length.
    line = " ".join(text.rstrip()[-4 * most :].split())[-most:]
    return "".join(character if character.isprintable() else "?" for character in line)


def last_lines(output: bytes, most: int) -> str:
    """The end of a program's output in one line of at most `most` characters: its last lines that fit whole.

    A statement or a path of any length may stand before the reason.
    """
    text = output[-4 * most :].decode("utf-8", "replace").rstrip()
    end = text[-most:]
    if len(end) < len(text) or len(output) > 4 * most:
        # The first of these lines is cut.
        end = end.partition("\n")[2] or end
    return one_line(end, most)
