"""Steps on their way from root to the user's side: the standard input of `hostenv-node user-apply`. Pure."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from hostenv_node.environment.layout import Layout
from hostenv_node.environment.steps import Step
from hostenv_node.errors import OperationFailed

_KINDS = {kind.__name__: kind for kind in get_args(Step)}


@dataclass(frozen=True)
class Request:
    """Steps in the order in which they are done, and what all of them need."""

    layout: Layout
    tools: Mapping[str, str]
    timeout: float
    """Seconds for all steps."""
    steps: tuple[Step, ...]

    def to_json(self) -> str:
        """What root writes."""
        steps = [[type(step).__name__, asdict(step)] for step in self.steps]
        values = {"layout": asdict(self.layout), "tools": dict(self.tools), "timeout": self.timeout}
        return json.dumps({**values, "steps": steps}, default=str)

    @classmethod
    def from_json(cls, text: str) -> "Request":
        """What the user's side reads. Raises OperationFailed for the request of another version."""
        try:
            values = json.loads(text)
            return cls(
                layout=_typed(Layout, values["layout"]),
                tools=_typed(Mapping[str, str], values["tools"]),
                timeout=float(values["timeout"]),
                steps=tuple(_typed(_KINDS[name], fields) for name, fields in values["steps"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise OperationFailed(
                f"the request is of another version ({error!r}); install one version of hostenv-node"
            ) from error


def _typed(kind: Any, value: Any) -> Any:
    """The value of type `kind` of which JSON made `value`.

    Raises AttributeError, KeyError, TypeError or ValueError when it was none.
    """
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        if value.keys() - hints.keys():
            raise TypeError(f"unknown {sorted(value.keys() - hints.keys())}")
        return kind(**{name: _typed(hint, value[name]) for name, hint in hints.items()})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple:
        kinds = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        return tuple(_typed(each, item) for each, item in zip(kinds, value, strict=True))
    if origin is Mapping:
        return {key: _typed(arguments[1], item) for key, item in value.items()}
    if origin is UnionType:
        return value if type(value) in arguments else _typed(arguments[0], value)
    if kind is Path:
        return Path(value)
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not {kind.__name__}")
    return value
