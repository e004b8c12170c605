"""`flake.lock`, where each project is locked at a revision, and the inputs of `flake.nix` (contract 3).

Data in, data out. Nix would fetch over the network to write it; what is written here is what Nix writes.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from hostenv_core import names
from hostenv_core.json_value import Value

from hostenv_provider.plan.flake_template import check_url

LOCK = "flake.lock"
HEAD = "HEAD"

EMPTY: Mapping[str, object] = {"nodes": {"root": {}}, "root": "root", "version": 7}
"""The lock file of a flake without inputs."""


@dataclass(frozen=True)
class Input:
    """A project as `flake.lock` has it; `url` is the flake reference without query.

    `reference` is the Git reference that is followed, by its full name or as `HEAD`, and `branch` the branch
    whose flake is locked, None if that is not known.
    """

    name: str
    url: str
    rev: str
    nar_hash: str
    reference: str
    branch: str | None


def parse(document: object) -> dict[str, Input]:
    """All projects of a lock file by key, `<organisation>__<project>`. Raises InvalidData."""
    nodes, projects = _nodes_and_projects(document)
    result: dict[str, Input] = {}
    for name, node in projects.items():
        key = "__".join(names.parse_input_name(name))
        if key in result:
            raise node.error(f"is the same project as {result[key].name}: remove one")
        result[key] = _input(name, nodes.get(node.string(), node))
    return result


def original(entry: Value) -> dict[str, str]:
    """What an input of `flake.nix` asks for, as Nix says it (`data/inputs.nix`). Raises InvalidData."""
    members = entry.members(["asked", "flake"])
    asked = {key: value.string() for key, value in members["asked"].object().items()}
    if asked.get("type") != "git" or "url" not in asked:
        raise entry.error("is not fetched from a Git repository: give it a git+ address")
    if members["flake"].raw is not False:
        raise entry.error("is an input with inputs of its own: add `flake = false;` to it")
    return asked


def relocked(
    document: object,
    declared: Collection[str],
    name: str,
    asked: Mapping[str, str],
    locked: Mapping[str, str],
) -> dict[str, object]:
    """The lock file with the project `name` at another revision, without those that left flake.nix."""
    lock = Value(document, LOCK, "$", most=None)
    nodes = {key: value.raw for key, value in lock.object()["nodes"].object().items()}
    root = Value(nodes["root"], LOCK, "$.nodes.root", most=None).object()
    inputs = {key: value.raw for key, value in (root["inputs"].object() if "inputs" in root else {}).items()}
    for lost in [each for each in inputs if "__" in each and each not in declared]:
        nodes.pop(str(inputs.pop(lost)), None)
    node = str(inputs.setdefault(name, name))
    nodes[node] = {"flake": False, "locked": dict(locked), "original": dict(asked)}
    nodes["root"] = {"inputs": inputs}
    return {**{key: value.raw for key, value in lock.object().items()}, "nodes": nodes}


def project_inputs(document: object) -> dict[str, str]:
    """The names of all projects in a lock file, each with its node there. Raises InvalidData."""
    _, projects = _nodes_and_projects(document)
    return {name: str(node.raw) for name, node in projects.items()}


def without_projects(document: object) -> object:
    """The lock file without its projects, which have no inputs of their own. Raises InvalidData."""
    projects = project_inputs(document)
    if not projects:
        return document
    lock = {key: value.raw for key, value in Value(document, LOCK, "$", most=None).object().items()}
    found = Value(lock["nodes"], LOCK, "$.nodes", most=None).object()
    inputs = {name: node.raw for name, node in found["root"].object()["inputs"].object().items()}
    left = {name: node for name, node in inputs.items() if name not in projects}
    nodes = {name: node.raw for name, node in found.items() if name not in projects.values()}
    return {**lock, "nodes": {**nodes, "root": {"inputs": left} if left else {}}}


def _nodes_and_projects(document: object) -> tuple[dict[str, Value], dict[str, Value]]:
    """What a lock file locks, by node, and the nodes of its projects, by name."""
    lock = Value(document, LOCK, "$", most=None).object()
    nodes = lock["nodes"].object() if "nodes" in lock else {}
    root = nodes["root"].object() if "root" in nodes else {}
    inputs = root["inputs"].object() if "inputs" in root else {}
    return nodes, {name: node for name, node in inputs.items() if "__" in name}


def _input(name: str, node: Value) -> Input:
    members = node.object()
    asked = members["original"].object() if "original" in members else {}
    locked = members["locked"].object() if "locked" in members else {}
    if "type" not in asked or asked["type"].raw != "git" or "url" not in asked:
        raise node.error(f"{name} is not fetched from a Git repository: give it a git+ address in flake.nix")
    if "flake" not in members or members["flake"].raw is not False:
        raise node.error(
            f"{name} is an input with inputs of its own: add `flake = false;` to it in flake.nix"
        )
    if "rev" not in locked or "narHash" not in locked:
        raise node.error(
            f"{name} is not locked at a commit: commit what has changed in the project's repository"
        )
    reference = reference_of({key: value.string() for key, value in asked.items() if key == "ref"})
    branch = reference if reference != HEAD else locked["ref"].string() if "ref" in locked else HEAD
    return Input(
        name,
        check_url(f"git+{asked['url'].string()}"),
        locked["rev"].string(),
        locked["narHash"].string(),
        reference,
        None if branch == HEAD else names.branch(branch),
    )


def reference_of(asked: Mapping[str, str]) -> str:
    """The Git reference that an input follows, by its full name or as `HEAD`."""
    reference = asked.get("ref", HEAD)
    return reference if reference == HEAD or reference.startswith("refs/") else f"refs/heads/{reference}"
