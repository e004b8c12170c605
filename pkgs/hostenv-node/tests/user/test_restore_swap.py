"""Putting restored data in the place of the live ones, cut short at every step."""

import os
from pathlib import Path

import pytest
from hostenv_node.deadline import Deadline
from hostenv_node.environment.layout import Layout
from hostenv_node.user import restore
from hostenv_node.user.process import UserProcess

FOLDERS = ("mysql", "files", "private_files", "sessions")


@pytest.fixture
def process(layout: Layout) -> UserProcess:
    return UserProcess(layout, {}, Deadline.after(60))


def fill(parent: Path, content: str) -> None:
    for name in FOLDERS:
        (parent / name).mkdir(parents=True)
        (parent / name / "data").write_text(content)


def content(parent: Path) -> set[str]:
    return {(parent / name / "data").read_text() for name in FOLDERS}


class PowerOff(Exception):
    pass


@pytest.mark.parametrize("survived", range(10))
def test_a_repetition_ends_the_same_wherever_it_was_cut_short(
    process: UserProcess, layout: Layout, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    fill(layout.data_dir, "old")
    fill(layout.restore_dir, "new")
    left = survived
    rename = os.rename

    def failing(source: Path, target: Path) -> None:
        nonlocal left
        if left == 0:
            raise PowerOff
        left -= 1
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing)
        try:
            restore.swap(process, "job-1")
        except PowerOff:
            assert survived < 8
        else:
            assert survived >= 8
    restore.swap(process, "job-1")
    assert content(layout.data_dir) == {"new"}
    assert content(layout.set_aside("job-1")) == {"old"}


def test_a_repetition_after_the_end_sets_nothing_aside_again(process: UserProcess, layout: Layout) -> None:
    fill(layout.data_dir, "old")
    fill(layout.restore_dir, "new")
    restore.swap(process, "job-1")
    restore.swap(process, "job-1")
    assert content(layout.data_dir) == {"new"}
    assert content(layout.set_aside("job-1")) == {"old"}


def test_each_job_sets_aside_what_it_found(process: UserProcess, layout: Layout) -> None:
    fill(layout.data_dir, "first")
    for job, restored in (("job-1", "second"), ("job-2", "third")):
        fill(layout.restore_dir, restored)
        restore.swap(process, job)
    assert content(layout.data_dir) == {"third"}
    assert content(layout.set_aside("job-1")) == {"first"}
    assert content(layout.set_aside("job-2")) == {"second"}


def test_a_first_restore_finds_nothing_to_set_aside(process: UserProcess, layout: Layout) -> None:
    fill(layout.restore_dir, "new")
    restore.swap(process, "job-1")
    assert content(layout.data_dir) == {"new"}
