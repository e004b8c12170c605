"""A JSON document that somebody else wrote, read value by value: every error names its place."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from hostenv_core.errors import InvalidData
from hostenv_core.lines import printable, shown

MAX_ENTRIES = 100
"""Maximum number of entries of an object or a list that a project defines."""
_MAX_TEXT = 1000


def parse(content: str | bytes, source: object, remedy: str) -> object:
    """The document that `content` is. Raises InvalidData, which names `source` and what to do with it."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        document: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidData(f"{source}: not JSON ({error}): {remedy}") from error
    return document


def parse_object(content: str | bytes, source: object, remedy: str) -> dict[str, object]:
    """The JSON object that `content` is. Raises InvalidData as `parse` does."""
    document = parse(content, source, remedy)
    if not isinstance(document, dict):
        raise InvalidData(f"{source}: must hold a JSON object: {remedy}")
    return document


class Value:
    """A value of a JSON document with its place, which every error names.

    `most` bounds the entries of each object and list in it: None for what the provider writes itself, which
    may hold as much as has been defined. `remedy` ends each error: what to do.
    """

    def __init__(
        self,
        raw: object,
        source: object,
        path: str = "",
        most: int | None = MAX_ENTRIES,
        *,
        remedy: str = "",
    ) -> None:
        self.raw = raw
        self._source = source
        self._path = path
        self._most = most
        self._remedy = remedy

    def error(self, problem: str) -> InvalidData:
        """An error about this place: what it must be."""
        parts = (str(self._source), printable(self._path), problem, self._remedy)
        return InvalidData(": ".join(part for part in parts if part))

    def mapping(self) -> Mapping[str, object]:
        """Any object, as it is."""
        if not isinstance(self.raw, Mapping):
            raise self.error("must be an object")
        return self.raw

    def _below(self, raw: object, place: str) -> "Value":
        path = f"{self._path}{place}".removeprefix(".")
        return Value(raw, self._source, path, self._most, remedy=self._remedy)

    def member(self, key: str, default: object = None) -> "Value":
        """A member of an object that may have others; `default` where it is absent or null."""
        found = self.mapping().get(key)
        value = self._below(default if found is None else found, f".{key}")
        if value.raw is None:
            raise value.error("is missing")
        return value

    def optional(self, key: str) -> "Value | None":
        """A member of an object that may have others; None where it is absent or null."""
        found = self.mapping().get(key)
        return None if found is None else self._below(found, f".{key}")

    def members(self, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, "Value"]:
        """The members of an object that has all `required` keys and no other than those and `optional`."""
        found = self.object()
        for key in found:
            if key not in required and key not in optional:
                known = ", ".join(sorted((*required, *optional)))
                raise self.error(f"unknown key {shown(key)}, known are {known}")
        for key in required:
            if key not in found:
                raise self.error(f"{key} is missing")
        return {key: value for key, value in found.items() if value.raw is not None or key in required}

    def entries(self, is_valid: Callable[[str], bool], what: str) -> dict[str, "Value"]:
        """The members, sorted, of an object whose keys all satisfy `is_valid`."""
        found = self.mapping()
        if self._most is not None and len(found) > self._most:
            raise self.error(f"has {len(found)} entries, {self._most} are the most")
        for key in found:
            if not isinstance(key, str) or not is_valid(key):
                raise self.error(f"{shown(str(key))} is not valid as {what}")
        return {key: self._below(found[key], f".{key}") for key in sorted(found)}

    def object(self) -> dict[str, "Value"]:
        """The members, sorted, of any object, for documents that another program makes."""
        found = self.mapping()
        return {key: self._below(found[key], f".{key}") for key in sorted(found, key=str)}

    def items(self) -> Iterator["Value"]:
        """The elements of a list."""
        if not isinstance(self.raw, list):
            raise self.error("must be a list")
        if self._most is not None and len(self.raw) > self._most:
            raise self.error(f"has {len(self.raw)} elements, {self._most} are the most")
        for index, element in enumerate(self.raw):
            yield self._below(element, f"[{index}]")

    def string(self) -> str:
        """A string of one line, at most 1000 characters."""
        text = self.text()
        if not text or len(text) > _MAX_TEXT or not text.isprintable():
            raise self.error(f"{shown(text)} must be one line of 1 to {_MAX_TEXT} printable characters")
        return text

    def text(self) -> str:
        """Any string."""
        if not isinstance(self.raw, str):
            raise self.error("must be a string")
        return self.raw

    def secret(self) -> str:
        """Any string but the empty one; no error shows it."""
        text = self.text()
        if not text:
            raise self.error("must not be empty")
        return text

    def named(self, is_valid: Callable[[str], bool], what: str) -> str:
        """A string that satisfies `is_valid`."""
        text = self.string()
        if not is_valid(text):
            raise self.error(f"{shown(text)} is not valid as {what}")
        return text

    def choice(self, choices: Sequence[str]) -> str:
        """One of some strings."""
        return self.named(lambda text: text in choices, f"one of {', '.join(choices)}")

    def boolean(self) -> bool:
        """True or false."""
        if not isinstance(self.raw, bool):
            raise self.error("must be true or false")
        return self.raw

    def flag(self, key: str) -> bool:
        """A member that is true or false; false where it is absent or null."""
        return self.member(key, False).boolean()

    def number(self) -> float:
        """Any number."""
        if not isinstance(self.raw, int | float) or isinstance(self.raw, bool):
            raise self.error("must be a number")
        return float(self.raw)

    def integer(self, least: int, most: float = math.inf) -> int:
        """A whole number within bounds."""
        if isinstance(self.raw, int) and not isinstance(self.raw, bool) and least <= self.raw <= most:
            return self.raw
        raise self.error(f"must be a whole number from {least} {'on' if most == math.inf else f'to {most}'}")
