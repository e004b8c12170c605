"""Errors whose text is meant for people: what went wrong, where, and what to do."""


class HostenvError(Exception):
    """Base of every error that a command reports in one line and ends with exit status 1."""


class InvalidData(HostenvError):
    """A document does not have the form it must have; the text names the file or source and the JSON path."""
