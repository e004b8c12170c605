"""The files of `generated/`, made from plan and state (contract 3 and 6)."""

import difflib
import json
from collections.abc import Mapping

from hostenv_provider.flake_template import switch_to_configuration
from hostenv_provider.plan import Plan, State

FOLDER = "generated"
PLAN = f"{FOLDER}/plan.json"
STATE = f"{FOLDER}/state.json"


def render(plan: Plan, state: State) -> dict[str, str]:
    """Path and content of every file; the same plan and state give the same bytes."""
    files = {PLAN: to_text(plan.to_json()), STATE: to_text(state.to_json())}
    for node in plan.nodes:
        files[f"{FOLDER}/nodes/{node}/slice.json"] = to_text(plan.slice(node))
        files[f"{FOLDER}/nodes/{node}/bin/switch-to-configuration"] = switch_to_configuration()
    return dict(sorted(files.items()))


def is_program(path: str) -> bool:
    """Whether the file at `path` must be executable."""
    return path.endswith("/bin/switch-to-configuration")


def to_text(document: object) -> str:
    """JSON as it is committed: keys sorted, one value a line."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def unified_diff(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """What changes from one set of files to another; empty if nothing does."""
    lines: list[str] = []
    for path in sorted({*before, *after}):
        lines += difflib.unified_diff(
            before.get(path, "").splitlines(keepends=True),
            after.get(path, "").splitlines(keepends=True),
            f"a/{path}" if path in before else "/dev/null",
            f"b/{path}" if path in after else "/dev/null",
        )
    return "".join(lines)
