"""What an answer of the site must keep to: the entry's `deploymentVerification` (contract 6). Pure.

The provider's own check judges by the same rules.
"""

import re
from dataclasses import dataclass

from hostenv_core.json_value import Value

_PATH = re.compile(r"/[!-~]*")
# With these a server says that the application does not run.
_SILENT = frozenset({502, 503, 504})


@dataclass(frozen=True)
class Check:
    """A request, by host and path, and the constraints on its answer: pairs of rule and value."""

    name: str
    host: str
    path: str
    constraints: tuple[tuple[str, int | str], ...]


def parse_checks(document: Value | None, hostname: str) -> tuple[Check, ...]:
    """The checks of a `deploymentVerification`; without any, the front page must answer with 200 to 399.

    Raises InvalidData when it is no such object.
    """
    found = () if document is None else document.member("checks", []).items()
    front_page = Check("front page", hostname, "/", (("minHttpStatus", 200), ("maxHttpStatus", 399)))
    return tuple(_check(each, hostname) for each in found) or (front_page,)


def _check(value: Value, hostname: str) -> Check:
    request = value.member("request")
    return Check(
        name=value.member("name").string(),
        host=request.member("virtualHost", hostname).string(),
        path=request.member("path").named(lambda text: _PATH.fullmatch(text) is not None, "a path"),
        constraints=tuple(_constraint(each) for each in value.member("constraints").items()),
    )


def _constraint(value: Value) -> tuple[str, int | str]:
    rule = value.member("rule").choice(("bodyContains", "minHttpStatus", "maxHttpStatus"))
    wanted = value.member("value")
    return rule, wanted.string() if rule == "bodyContains" else wanted.integer(100, 599)


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
