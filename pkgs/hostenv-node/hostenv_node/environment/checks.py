"""What an answer of the site must keep to: the entry's `deploymentVerification` (contract 6). Pure.

The provider's own check judges by the same rules.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hostenv_node.errors import OperationFailed

_PATH = re.compile(r"/[!-~]*")
# A server's own words for an application that is not up.
_SILENT = frozenset({502, 503, 504})


@dataclass(frozen=True)
class Check:
    """A request, by host and path, and the constraints on its answer: pairs of rule and value."""

    name: str
    host: str
    path: str
    constraints: tuple[tuple[str, int | str], ...]


def parse_checks(document: object, hostname: str) -> tuple[Check, ...]:
    """The checks of a `deploymentVerification`; without any, the front page must answer with 200 to 399.

    Raises OperationFailed when it is no such object.
    """
    found = document.get("checks") if isinstance(document, Mapping) else None
    if document is not None and not isinstance(found, list):
        raise _unacceptable()
    front_page = Check("front page", hostname, "/", (("minHttpStatus", 200), ("maxHttpStatus", 399)))
    return tuple(_check(each, hostname) for each in found or ()) or (front_page,)


def _check(value: object, hostname: str) -> Check:
    match value:
        case {
            "name": str(name),
            "request": {"virtualHost": str() | None as host, "path": str(path)},
            "constraints": list(constraints),
        } if _PATH.fullmatch(path):
            return Check(name, host or hostname, path, tuple(map(_constraint, constraints)))
    raise _unacceptable()


def _constraint(value: object) -> tuple[str, int | str]:
    match value:
        case {"rule": "bodyContains", "value": str(text)}:
            return "bodyContains", text
        case {"rule": "minHttpStatus" | "maxHttpStatus" as rule, "value": int(number)}:
            return rule, number
    raise _unacceptable()


def _unacceptable() -> OperationFailed:
    return OperationFailed("deploymentVerification in the plan's entry is not acceptable; plan again")


def violation(check: Check, status: int, body: bytes) -> str | None:
    """The first constraint that an answer breaks, in words; None if it keeps all."""
    for rule, value in check.constraints:
        match rule:
            case "minHttpStatus":
                broken = status < int(value)
            case "maxHttpStatus":
                broken = status > int(value)
            case _:
                broken = str(value).encode() not in body
        if broken:
            return f"{rule} {value!r} is not met by the answer with status {status}"
    return None


def is_silent(status: int) -> bool:
    """Whether such an answer may only mean that the application is still starting."""
    return status in _SILENT
