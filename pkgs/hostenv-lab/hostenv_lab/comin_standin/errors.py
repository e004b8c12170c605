"""What can go wrong."""

from __future__ import annotations


class CominError(Exception):
    """Something that a person has to put right; the message says what and where."""


class Cancelled(Exception):
    """A newer commit took the place of the one that was being evaluated or built."""
