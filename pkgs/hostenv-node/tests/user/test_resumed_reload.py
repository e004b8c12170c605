"""A reload that a crash cut short is done again while what it laid out is served."""

import os
from pathlib import Path

import pytest
from hostenv_node.deadline import Deadline
from hostenv_node.environment.layout import Layout
from hostenv_node.user import release
from hostenv_node.user.paths import tidy
from hostenv_node.user.process import UserProcess

NAME = "release"


@pytest.fixture
def process(layout: Layout) -> UserProcess:
    return UserProcess(layout, {}, Deadline.after(60))


def unpack(layout: Layout) -> None:
    source = layout.unfinished_release(NAME) / "source/web"
    source.mkdir(parents=True)
    (source / "index.php").write_text("served")


def lay_out(process: UserProcess) -> None:
    release.lay_out(process, NAME, "web", None)


@pytest.fixture
def page(process: UserProcess, layout: Layout) -> Path:
    """What is served when the reload is done again."""
    unpack(layout)
    lay_out(process)
    release.activate(process, NAME, [])
    unpack(layout)
    return layout.current / "public/index.php"


def test_the_release_that_is_served_is_replaced_before_it_is_deleted(
    process: UserProcess, page: Path, layout: Layout
) -> None:
    lay_out(process)
    assert page.exists()
    assert [entry.name.endswith(NAME) for entry in layout.discarded_dir.iterdir()] == [True]
    assert tidy(process) == []
    assert not list(layout.discarded_dir.iterdir())
    assert sorted(path.name for path in layout.app_dir.iterdir()) == ["current", NAME]


def test_a_crash_between_the_two_is_got_over(
    process: UserProcess, page: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.rename

    def power_off(source: Path, target: Path) -> None:
        if target == layout.release(NAME):
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", power_off)
        with pytest.raises(KeyboardInterrupt):
            lay_out(process)
    lay_out(process)
    assert page.read_text() == "served"
