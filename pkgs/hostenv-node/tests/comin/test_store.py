"""What comin is made to forget before it starts."""

import json
from pathlib import Path

import pytest
from hostenv_node.comin import store


@pytest.mark.parametrize(("repository", "left"), [("provider", False), ("nodes/node-a", True)])
def test_the_history_of_the_providers_own_repository_is_forgotten(
    repository: str, left: bool, tmp_path: Path
) -> None:
    store.prepare(tmp_path)
    (tmp_path / "repository").mkdir()
    (tmp_path / "store.json").write_text("{}")
    (tmp_path / "repository/config").write_text(
        f'[remote "provider"]\n\turl = https://provider.example.org/git/{repository}.git\n'
    )
    store.prepare(tmp_path)
    assert [(tmp_path / name).exists() for name in ("repository", "store.json")] == [left, left]


@pytest.mark.parametrize(
    ("status", "left"), [("init", False), ("running", False), ("done", True), ("failed", True)]
)
def test_a_deployment_that_was_cut_short_is_forgotten(status: str, left: bool, tmp_path: Path) -> None:
    last, before = {"uuid": "2", "status": status}, {"uuid": "1", "status": "done"}
    file = tmp_path / "store.json"
    file.write_text(json.dumps({"deployments": [last, before], "is_suspended": True}))
    store.prepare(tmp_path)
    assert json.loads(file.read_text()) == {
        "deployments": [last, before] if left else [before],
        "is_suspended": True,
    }


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"deployments": {}}', '{"deployments": [null, "a"]}']
)
def test_a_store_that_is_not_comins_is_left_to_comin(content: str, tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text(content)
    store.prepare(tmp_path)
    assert (tmp_path / "store.json").read_text() == content
