"""What the answers of a site must keep to: the checks of `deploymentVerification` (contract 6 and 7). Pure.

A node asks a new release before it is served, the provider asks what is served; both judge by these rules.
"""

import re
from dataclasses import dataclass

from hostenv_core.json_value import Value

# With these a server says that the application does not run.
_SILENT = frozenset({502, 503, 504})


@dataclass(frozen=True)
class Constraint:
    """What an answer must keep to: `minHttpStatus`, `maxHttpStatus` (number) or `bodyContains` (string)."""

    rule: str
    value: int | str


@dataclass(frozen=True)
class Check:
    """A request and the constraints on its answer; no `virtual_host` means the canonical one."""

    name: str
    virtual_host: str | None
    path: str
    constraints: tuple[Constraint, ...]


@dataclass(frozen=True)
class Answer:
    """What a web server said; the body is cut at 1 MiB."""

    status: int
    body: bytes

    @property
    def is_silence(self) -> bool:
        """Whether it may only mean that the application is still starting."""
        return self.status in _SILENT


FRONT_PAGE = Check(
    "front page", None, "/", (Constraint("minHttpStatus", 200), Constraint("maxHttpStatus", 399))
)
"""The check of an environment that defines none."""


def constraint(rule: Value, value: Value) -> Constraint:
    """Raises InvalidData."""
    name = rule.choice(("bodyContains", "maxHttpStatus", "minHttpStatus"))
    return Constraint(name, value.string() if name == "bodyContains" else value.integer(100, 599))


def is_path(text: str) -> bool:
    """Whether `text` is a path of a URL, perhaps with a query."""
    return re.fullmatch(r"/[!-~]*", text) is not None


def violation(check: Check, answer: Answer) -> str | None:
    """The first constraint that an answer breaks, in words; None if it keeps all."""
    for each in check.constraints:
        match each.rule:
            case "minHttpStatus":
                broken = answer.status < int(each.value)
            case "maxHttpStatus":
                broken = answer.status > int(each.value)
            case _:
                broken = str(each.value).encode() not in answer.body
        if broken:
            return f"{each.rule} {each.value!r} is not met by the answer with status {answer.status}"
    return None
