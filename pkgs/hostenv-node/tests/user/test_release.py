"""Release folders: a new one is made beside those that serve (contract 7, reload)."""

import os

import pytest
from hostenv_node.deadline import Deadline
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.user import release
from hostenv_node.user.process import UserProcess


@pytest.fixture
def process(layout: Layout) -> UserProcess:
    return UserProcess(layout, {}, Deadline.after(60))


def unpacked(layout: Layout, name: str) -> None:
    source = layout.unfinished_release(name) / "source/web"
    source.mkdir(parents=True)
    (source / "index.php").write_text(name)


def served(layout: Layout) -> str:
    return (layout.current / "public/index.php").read_text()


def test_a_release_serves_only_once_it_is_activated(process: UserProcess, layout: Layout) -> None:
    for name in ("first", "second"):
        unpacked(layout, name)
        release.lay_out(process, name, "web", None)
        if name == "first":
            release.activate(process, "first", [])
    assert served(layout) == "first"
    release.activate(process, "second", ["first"])
    assert served(layout) == "second"
    release.activate(process, "first", [])
    assert served(layout) == "first"
    assert sorted(path.name for path in layout.app_dir.iterdir()) == ["current", "first"]


def test_an_unfinished_release_has_not_its_name(
    process: UserProcess, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_power(*_: object) -> None:
        raise KeyboardInterrupt

    unpacked(layout, "first")
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", no_power)
        with pytest.raises(KeyboardInterrupt):
            release.lay_out(process, "first", "web", None)
    assert not layout.release("first").exists()
    release.lay_out(process, "first", "web", None)
    release.activate(process, "first", [])
    assert served(layout) == "first"


def test_a_document_root_that_is_not_there_is_named(process: UserProcess, layout: Layout) -> None:
    unpacked(layout, "first")
    with pytest.raises(OperationFailed, match="no folder public in its source"):
        release.lay_out(process, "first", "public", None)
    assert list(layout.app_dir.iterdir()) == []
