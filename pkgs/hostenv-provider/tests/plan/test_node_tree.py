"""What a node's own repository holds: this node's part of a provider's commit, and not a word of others."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hostenv_core.errors import InvalidData
from hostenv_provider.plan import generated
from hostenv_provider.plan.definitions import User
from hostenv_provider.plan.flake_template import add_project, provider_flake
from hostenv_provider.plan.node_tree import Entry, NodeTree, ProviderTree, blob_id
from hostenv_provider.plan.plan import Environment, Plan, State

GIT = shutil.which("git") or "git"
TEMPLATE = Path(__file__).parents[4] / "templates" / "provider"
COMMIT = "c" * 40
SETTINGS = {
    "hostenvHostname": "demo.hostenv.test",
    "nodeFor": {"default": "node-a"},
    "nodes": {"node-a": {"address": "192.0.2.1"}, "node-b": {"address": "192.0.2.2"}},
    "environments": {"drupal-main-2855093": {"node": "node-a"}},
    "projects": {"demo__drupal": {"hosts": ["*.customer.example"]}},
}


def lock(*names: str) -> dict[str, object]:
    nodes = {
        name: {
            "flake": False,
            "locked": {"type": "git", "url": f"https://git.example.org/{name}", "rev": "7" * 40},
            "original": {"type": "git", "url": f"https://git.example.org/{name}"},
        }
        for name in names
    }
    inputs = {name: name for name in names}
    return {"nodes": {**nodes, "root": {"inputs": inputs}}, "root": "root", "version": 7}


def files(flake: str, environments: dict[str, Environment]) -> dict[str, str]:
    plan = Plan("demo.hostenv.test", "http://provider", environments, ("node-a", "node-b"))
    return {
        "flake.nix": add_project(flake, "demo__drupal", "git+https://git.example.org/demo__drupal"),
        "flake.lock": generated.to_text(lock("demo__drupal", "nixpkgs")),
        "provider.json": generated.to_text(SETTINGS),
        "NOTES": "an operator's own\n",
        **generated.render(plan, State.empty()),
    }


def tree_of(contents: dict[str, str]) -> ProviderTree:
    encoded = {path: text.encode() for path, text in contents.items()}
    return ProviderTree(
        COMMIT, {path: Entry("100644", blob_id(each)) for path, each in encoded.items()}, encoded
    )


def text_of(tree: NodeTree, contents: dict[str, str]) -> dict[str, str]:
    return {path: tree.made[path].decode() if path in tree.made else contents[path] for path in tree.entries}


@pytest.fixture
def environments(environment: Callable[..., Environment]) -> dict[str, Environment]:
    ann = {"ann": User(email="ann@customer.example", public_keys=("ssh-ed25519 AAAAC3NzaC1secret",))}
    made = [
        replace(environment("main", node="node-a", rev="4" * 40), users=ann),
        replace(environment("staging", node="node-b", rev="5" * 40), users=ann),
    ]
    return {each.user_name: each for each in made}


@pytest.mark.parametrize("flake", ["init", "template"])
def test_a_nodes_files_have_no_word_of_any_environment_or_other_node(
    environments: dict[str, Environment], flake: str
) -> None:
    operators = {"init": provider_flake(), "template": (TEMPLATE / "flake.nix").read_text()}[flake]
    contents = files(operators, environments)
    found = text_of(tree_of(contents).of_node("node-a"), contents)
    everything = "\n".join([*found, *found.values()])
    secret = [
        "demo__drupal",
        "node-b",
        "192.0.2.2",
        "customer.example",
        "AAAAC3",
        "drupal",
        "git.example.org/demo",
    ]
    for each in environments.values():
        secret += [
            each.user_name,
            each.project_name_hash,
            each.source.rev,
            each.source.nar_hash,
            each.name + ".",
        ]
    assert [word for word in secret if word in everything] == []
    assert found["NOTES"] == contents["NOTES"]
    own = "generated/nodes/node-a"
    assert sorted(path for path in found if path.startswith("generated/")) == [
        f"{own}/bin/switch-to-configuration",
        f"{own}/slice.sha256",
    ]
    text = contents[f"{own}/slice.json"]
    assert found[f"{own}/slice.sha256"].strip() == hashlib.sha256(text.encode()).hexdigest()
    assert json.loads(found["provider.json"]) == {
        "hostenvHostname": "demo.hostenv.test",
        "nodes": {"node-a": {"address": "192.0.2.1"}},
    }
    assert json.loads(found["flake.lock"]) == lock("nixpkgs")
    assert found["flake.nix"] == operators


def test_a_commit_without_a_hash_of_the_slice_gives_one(environments: dict[str, Environment]) -> None:
    contents = files(provider_flake(), environments)
    before = {path: text for path, text in contents.items() if not path.endswith("slice.sha256")}
    assert tree_of(before).of_node("node-a").entries == tree_of(contents).of_node("node-a").entries


def test_a_lock_file_of_projects_alone_is_that_of_a_flake_without_inputs(
    environments: dict[str, Environment],
) -> None:
    contents = files(provider_flake(), environments)
    contents["flake.lock"] = generated.to_text(lock("demo__drupal"))
    found = text_of(tree_of(contents).of_node("node-a"), contents)
    assert json.loads(found["flake.lock"]) == {"nodes": {"root": {}}, "root": "root", "version": 7}


def test_what_changes_for_one_node_changes_nothing_for_the_other(
    environments: dict[str, Environment], environment: Callable[..., Environment]
) -> None:
    moved_on = environment("main", node="node-a", rev="8" * 40)
    before = tree_of(files(provider_flake(), environments))
    after = tree_of(files(provider_flake(), {**environments, moved_on.user_name: moved_on}))
    assert before.of_node("node-b").entries == after.of_node("node-b").entries
    changed = {
        path
        for path, entry in after.of_node("node-a").entries.items()
        if before.of_node("node-a").entries[path] != entry
    }
    assert changed == {"generated/nodes/node-a/slice.sha256"}


def test_a_project_that_stands_elsewhere_in_the_flake_is_shown_to_nobody(
    environments: dict[str, Environment],
) -> None:
    contents = files(provider_flake(), environments)
    contents["flake.nix"] = contents["flake.nix"].replace("# begin projects", "# were projects")
    with pytest.raises(InvalidData, match="demo__drupal stands outside"):
        tree_of(contents).of_node("node-a")


def test_a_node_without_a_slice_waits_for_the_planner(environments: dict[str, Environment]) -> None:
    contents = files(provider_flake(), environments)
    nodes = {**SETTINGS["nodes"], "node-c": {"address": "192.0.2.3"}}  # type: ignore[dict-item]
    contents["provider.json"] = generated.to_text({**SETTINGS, "nodes": nodes})
    assert tree_of(contents).nodes == ("node-a", "node-b")
    del nodes["node-b"]
    contents["provider.json"] = generated.to_text({**SETTINGS, "nodes": nodes})
    assert tree_of(contents).nodes == ("node-a",)


@pytest.mark.parametrize("content", [b"", b"x", b"\xff\0", b"a\n" * 5000])
def test_a_content_has_the_id_that_git_gives_it(content: bytes) -> None:
    said = subprocess.run([GIT, "hash-object", "--stdin"], input=content, capture_output=True, check=True)
    assert blob_id(content) == said.stdout.decode().strip()
