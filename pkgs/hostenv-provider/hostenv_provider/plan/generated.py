"""The files of `generated/`, made from plan and state (contract 3 and 6)."""

import difflib
import hashlib
import json
from collections.abc import Mapping

from hostenv_core.errors import InvalidData

from hostenv_provider.plan.flake_template import switch_to_configuration
from hostenv_provider.plan.plan import Plan, State

FOLDER = "generated"
PLAN = f"{FOLDER}/plan.json"
STATE = f"{FOLDER}/state.json"


def render(plan: Plan, state: State) -> dict[str, str]:
    """Path and content of every file; the same plan and state give the same bytes."""
    files = {PLAN: to_text(plan.to_json()), STATE: to_text(state.to_json())}
    for node in plan.nodes:
        text = to_text(plan.slice(node))
        files[slice_path(node)] = text
        files[slice_hash_path(node)] = f"{slice_hash(text)}\n"
        files[f"{node_folder(node)}/bin/switch-to-configuration"] = switch_to_configuration()
    return dict(sorted(files.items()))


def node_folder(node: str) -> str:
    """Where a node's files are."""
    return f"{FOLDER}/nodes/{node}"


def slice_path(node: str) -> str:
    """The node's part of the plan."""
    return f"{node_folder(node)}/slice.json"


def slice_hash_path(node: str) -> str:
    """The hash of that file, by which a node asks for it."""
    return f"{node_folder(node)}/slice.sha256"


def is_slice(path: str) -> bool:
    """Whether the file at `path` is some node's part of the plan."""
    return path.startswith(f"{FOLDER}/nodes/") and path.endswith("/slice.json")


def slice_hash(text: str) -> str:
    """The SHA-256 of a node's part of the plan, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_program(path: str) -> bool:
    """Whether the file at `path` must be executable."""
    return path.endswith("/bin/switch-to-configuration")


def to_text(document: object) -> str:
    """JSON as it is committed: keys sorted, one value a line."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def from_text(text: str, path: str) -> object:
    """What `to_text` or a person wrote to `path`. Raises InvalidData."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidData(f"{path}: not JSON ({error}): correct it") from error


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
