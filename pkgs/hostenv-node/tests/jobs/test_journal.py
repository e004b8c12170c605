"""A journal outlives the process, and what was begun is never forgotten silently."""

import os
from pathlib import Path

import pytest
from hostenv_core.errors import HostenvError
from hostenv_core.files import write_json
from hostenv_core.intents import Action
from hostenv_node.jobs.journal import JobJournal, Progress
from hostenv_node.jobs.journal_store import JournalStore
from node_support import C1, USER

ACTIONS = (
    Action("restore", USER, "node-a", "node-b", ("data",)),
    Action("activate", USER, "node-a", "node-b", (), accept_loss=True),
)


def opened(job_id: str = "5f1c-1", order: int = 1) -> JobJournal:
    return JobJournal.opened(job_id, C1, "node-b", order, ACTIONS)


def test_every_kind_of_progress_is_read_back(tmp_path: Path) -> None:
    store = JournalStore(tmp_path / "jobs")
    journal = (
        opened().announced(0).started(0).ended(0, Progress.SUCCESS, "why", {"snapshots": {"data": "ab"}})
    )
    journal = journal.reported(0).settled(USER).started(1).told(1, "rounds").done()
    store.save(journal)
    assert JournalStore(tmp_path / "jobs").load() == [journal]
    assert journal.actions[0].settled
    assert not journal.actions[1].settled


def test_a_journal_of_the_version_before_is_read(tmp_path: Path) -> None:
    document = opened().started(0).to_json()
    actions = document["actions"]
    assert isinstance(actions, list)
    for part in (document, *actions):
        part.pop("shown", None)
        part.pop("trouble", None)
    write_json(tmp_path / "5f1c-1.json", document)
    assert JournalStore(tmp_path).load() == [opened().started(0)]


def test_journals_come_in_the_order_of_their_jobs(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    for job_id, order in (("b", 3), ("c", 1), ("a", 2)):
        store.save(opened(job_id, order))
    assert [journal.job_id for journal in store.load()] == ["c", "a", "b"]


def test_closed_journal_is_gone(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    store.save(opened())
    store.close(opened())
    assert store.load() == []


def test_a_closed_journal_does_not_come_back(tmp_path: Path, synchronised: list[str]) -> None:
    store = JournalStore(tmp_path / "jobs")
    store.save(opened())
    synchronised.clear()
    store.close(opened())
    assert synchronised == ["jobs"]


def test_unreadable_journal_is_named_and_kept(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    store.save(opened())
    (tmp_path / "5f1c-1.json").write_text('{"jobId": "5f1c-1"}')
    with pytest.raises(HostenvError, match=r"5f1c-1\.json"):
        store.load()
    assert (tmp_path / "5f1c-1.json").exists()


@pytest.mark.parametrize("job_id", ["", "../x", "a/b", ".hidden", "a b"])
def test_job_id_cannot_leave_the_folder(tmp_path: Path, job_id: str) -> None:
    with pytest.raises(HostenvError, match="job id"):
        JournalStore(tmp_path / "jobs").save(opened(job_id))


def test_crash_while_writing_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JournalStore(tmp_path)
    store.save(opened())

    def crash(_source: object, _target: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        store.save(opened().done())
    assert store.load() == [opened()]
