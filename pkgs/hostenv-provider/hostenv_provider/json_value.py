"""A JSON document that somebody else wrote, read value by value: every error names its place."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from hostenv_core.errors import InvalidData
from hostenv_core.lines import shown

MAX_ENTRIES = 100
"""So many entries may an object or a list have that a project defines."""
_MAX_TEXT = 1000


class Value:
    """A value of a JSON document with its place, which every error names.

    `most` bounds the entries of each object and list in it: None for what the provider writes itself, which
    may hold as much as has been defined.
    """

    def __init__(self, raw: object, source: str, path: str, most: int | None = MAX_ENTRIES) -> None:
        self.raw = raw
        self._source = source
        self._path = path
        self._most = most

    def error(self, problem: str) -> InvalidData:
        """An error about this place: what it must be."""
        return InvalidData(f"{self._source}: {self._path}: {problem}")

    def _mapping(self) -> Mapping[str, object]:
        if not isinstance(self.raw, Mapping):
            raise self.error("must be an object")
        return self.raw

    def _below(self, raw: object, place: str) -> "Value":
        return Value(raw, self._source, f"{self._path}{place}", self._most)

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
        found = self._mapping()
        if self._most is not None and len(found) > self._most:
            raise self.error(f"has {len(found)} entries, {self._most} are the most")
        for key in found:
            if not isinstance(key, str) or not is_valid(key):
                raise self.error(f"{shown(str(key))} is not valid as {what}")
        return {key: self._below(found[key], f".{key}") for key in sorted(found)}

    def object(self) -> dict[str, "Value"]:
        """The members, sorted, of any object, for documents that another program makes."""
        found = self._mapping()
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
        if not isinstance(self.raw, str):
            raise self.error("must be a string")
        if not self.raw or len(self.raw) > _MAX_TEXT or not self.raw.isprintable():
            raise self.error(f"{shown(self.raw)} must be one line of 1 to {_MAX_TEXT} printable characters")
        return self.raw

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

    def integer(self, least: int, most: int) -> int:
        """A whole number within bounds."""
        if not isinstance(self.raw, int) or isinstance(self.raw, bool) or not least <= self.raw <= most:
            raise self.error(f"must be a whole number from {least} to {most}")
        return self.raw
