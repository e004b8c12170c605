"""The part of YAML that configuration files of comin need; there is no YAML in Python's standard library."""

from __future__ import annotations

import json
import re
from typing import NoReturn

from .errors import CominError


class YamlSubset:
    """Reads the part of YAML that configuration files of comin need.

    Block mappings and block sequences, indented by spaces; keys and values as plain, 'single' or "double"
    quoted text on one line; integers, `true`, `false`, `null`, `~`; flow collections that are JSON (so `[]`,
    `{}` and whole JSON files); comments; one optional `---` at the top. No anchors, tags, block scalars, or
    values that go on in the next line: those raise CominError with the line's number.
    """

    def __init__(self, text: str) -> None:
        self._lines: list[tuple[int, int, str]] = []
        for number, raw in enumerate(text.splitlines(), start=1):
            content = self._without_comment(raw).rstrip()
            if content.strip() and not (content == "---" and not self._lines):
                indent = len(content) - len(content.lstrip(" "))
                self._lines.append((number, indent, content[indent:]))
        self._at = 0

    @staticmethod
    def _without_comment(line: str) -> str:
        quote = ""
        for index, char in enumerate(line):
            if quote:
                quote = "" if char == quote and line[index - 1] != "\\" else quote
            elif char in "'\"" and (index == 0 or line[index - 1] in " [{,:'"):
                quote = char
            elif char == "#" and (index == 0 or line[index - 1] in " \t"):
                return line[:index]
        return line

    @classmethod
    def parse(cls, text: str) -> object:
        """The value of a whole document; `None` for an empty one."""
        try:
            return json.loads(text)
        except ValueError:
            pass
        reader = cls(text)
        if not reader._lines:
            return None
        value = reader._block(reader._lines[0][1])
        if reader._at < len(reader._lines):
            reader._fail("unexpected indentation")
        return value

    def _fail(self, problem: str) -> NoReturn:
        number = self._lines[min(self._at, len(self._lines) - 1)][0]
        raise CominError(f"line {number}: {problem}")

    def _next(self) -> tuple[int, str] | None:
        if self._at == len(self._lines):
            return None
        _, indent, content = self._lines[self._at]
        return indent, content

    def _block(self, indent: int) -> object:
        _, _, content = self._lines[self._at]
        if content == "-" or content.startswith("- "):
            return self._sequence(indent)
        return self._mapping(indent)

    def _sequence(self, indent: int) -> list[object]:
        items: list[object] = []
        while (line := self._next()) is not None and line[0] == indent and re.match("-( |$)", line[1]):
            rest = line[1][1:].lstrip()
            if not rest:
                self._at += 1
                items.append(self._nested(indent + 1))
            elif self._key(rest) or re.match("-( |$)", rest):
                deeper = indent + len(line[1]) - len(rest)
                self._lines[self._at] = (self._lines[self._at][0], deeper, rest)
                items.append(self._block(deeper))
            else:
                items.append(self._scalar(rest))
                self._at += 1
        return items

    def _mapping(self, indent: int) -> dict[str, object]:
        mapping: dict[str, object] = {}
        while (line := self._next()) is not None and line[0] == indent and not re.match("-( |$)", line[1]):
            found = self._key(line[1])
            if found is None:
                self._fail("expected 'key: value'")
            key, rest = found
            if key in mapping:
                self._fail(f"key '{key}' is here twice")
            if rest:
                mapping[key] = self._scalar(rest)
                self._at += 1
            else:
                self._at += 1
                after = self._next()
                dash = after is not None and re.match("-( |$)", after[1])
                mapping[key] = self._nested(indent if dash else indent + 1)
        return mapping

    def _nested(self, at_least: int) -> object:
        line = self._next()
        return self._block(line[0]) if line is not None and line[0] >= at_least else None

    def _key(self, content: str) -> tuple[str, str] | None:
        match = re.match(
            r"""("(?:[^"\\]|\\.)*"|'[^']*'|[^\s'"\[\]{}&*!|>%@`#,?:-][^:#]*?)\s*:(?: +(.*))?$""", content
        )
        return (str(self._scalar(match[1])), match[2] or "") if match else None

    def _scalar(self, text: str) -> object:
        if text[0] in '[{"':
            try:
                return json.loads(text)
            except ValueError:
                self._fail("not a quoted text or JSON collection on one line")
        if text[0] == "'":
            if not re.fullmatch("'(?:[^']|'')*'", text):
                self._fail("a quoted text must end on its line")
            return text[1:-1].replace("''", "'")
        if text[0] in "&*!|>%@`" or ": " in text:
            self._fail(f"'{text}' is outside of the YAML that the stand-in reads")
        if re.fullmatch(r"[-+]?[0-9]+", text):
            return int(text)
        return {"true": True, "false": False, "null": None, "~": None}.get(text, text)
