"""A request and an answer of the HTTP API, apart from how they travel, and what a request holds."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hostenv_core.names import is_revision

MAX_BODY = 1024 * 1024
"""Bytes of a request's body, where a route does not say otherwise."""

MAX_WAIT = 30.0


@dataclass(frozen=True)
class HttpRequest:
    """`path` is as sent, `query` holds the first value of each parameter, `headers` has lower-case names.

    A body of `length` bytes is read when `body` is called, or written to a file that is durable then when
    `save` is, which is when it is known to be wanted; both raise HttpError if it does not arrive.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    length: int = 0
    body: Callable[[], bytes] = bytes
    save: Callable[[Path], None] = Path.touch

    def parameter(self, name: str) -> str:
        """A query parameter that must be there. Raises HttpError 400."""
        value = self.query.get(name, "").strip()
        if not value:
            raise HttpError(400, f"query parameter {name} is missing")
        return value

    def sha(self) -> str:
        """The query parameter `sha`, a whole commit id. Raises HttpError 400."""
        sha = self.parameter("sha").lower()
        if not is_revision(sha):
            raise HttpError(400, "query parameter sha must be a whole commit id in hexadecimal")
        return sha

    def wait(self) -> float:
        """The query parameter `wait` in seconds, 0 if absent, at most 30. Raises HttpError 400."""
        value = self.query.get("wait")
        if value is None:
            return 0.0
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value):
            raise HttpError(400, "query parameter wait must be a number of seconds")
        return min(float(value), MAX_WAIT)

    def document(self) -> dict[str, object]:
        """The body as a JSON object. Raises HttpError 400."""
        try:
            document = json.loads(self.body())
            # Also finds what JSON cannot say but Python reads and writes: NaN, infinities, half characters.
            json.dumps(document, allow_nan=False, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            raise HttpError(400, "the body is not valid JSON") from None
        if not isinstance(document, dict):
            raise HttpError(400, "the body must be a JSON object")
        return document


@dataclass(frozen=True)
class HttpAnswer:
    """`document` is sent as JSON, or else `file` as it is; without both the body is empty."""

    status: int
    document: Mapping[str, object] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None

    def body(self) -> bytes:
        return b"" if self.document is None else json.dumps(self.document).encode() + b"\n"


class HttpError(Exception):
    """Ends the handling of a request with an error status."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}

    def answer(self) -> HttpAnswer:
        """`{"error":"…"}`, except that 403 says nothing (contract 4)."""
        document = None if self.status == 403 else {"error": str(self)}
        return HttpAnswer(self.status, document, self.headers)


def optional_string(document: Mapping[str, object], key: str) -> str | None:
    """A member that is a string, null or absent. Raises HttpError 400."""
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise HttpError(400, f"{key} must be a string")
    return value


def optional_flag(document: Mapping[str, object], key: str) -> bool:
    """A member that is true, false, null or absent. Raises HttpError 400."""
    value = document.get(key)
    if value is not None and not isinstance(value, bool):
        raise HttpError(400, f"{key} must be true or false")
    return bool(value)
