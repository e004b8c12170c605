"""The rounds of the housekeeper on a real provider, and what Git's folders have after them."""

import logging
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hostenv_core.errors import HostenvError
from hostenv_core.states import JobState
from hostenv_provider.config import Config
from hostenv_provider.disks.parts import Parts
from hostenv_provider.repository import repository
from hostenv_provider.repository.repository import Repository
from hostenv_provider.rules.jobs import Request
from hostenv_provider.rules.retention import JOBS_KEPT, Retention
from hostenv_provider.store.store import Store
from hostenv_provider.work.housekeeping import Housekeeper
from provider_support import GIT, PROJECT, Machine


class Hours:
    now = 0.0

    def __call__(self) -> float:
        return self.now * 3600


def run(keeper: Housekeeper) -> int:
    steps = 0
    while keeper.step():
        steps += 1
    return steps


def git(folder: Path, *arguments: str) -> str:
    command = [GIT, f"--git-dir={folder}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def machine(new_provider: Path, config: Config) -> Machine:
    return Machine.copy(new_provider, config)


def test_a_round_comes_at_the_start_and_every_hour(machine: Machine) -> None:
    hours = Hours()
    keeper = Housekeeper(
        machine.store, machine.repository, Retention(90, 30), Parts(machine.config.transfers_dir), hours
    )
    assert run(keeper)
    assert run(keeper) == 0
    hours.now = 0.99
    assert run(keeper) == 0
    hours.now = 1.01
    assert run(keeper)


def test_a_round_removes_old_jobs_and_says_so_once(
    machine: Machine, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = Store(None, clock)
    for _ in range(JOBS_KEPT + 2):
        last = store.enqueue(Request(PROJECT)).job_id
    store.take_next()
    store.succeed(last, None)
    clock.move(91 * 24 * 3600)
    run(Housekeeper(store, machine.repository, Retention(90, 30), Parts(machine.config.transfers_dir)))
    assert store.counts() == {JobState.SUPERSEDED: JOBS_KEPT - 1, JobState.SUCCEEDED: 1}
    run(Housekeeper(store, machine.repository, Retention(90, 30), Parts(machine.config.transfers_dir)))
    assert caplog.messages == ["removed 2 jobs that ended long ago, and 0 old deliveries"]


def test_git_collects_between_pushes_only_and_all_repositories(machine: Machine) -> None:
    machine.finish(machine.run())
    folders = machine.repository.folders()
    assert [folder.name for folder in folders] == ["provider.git", "node-a.git", "node-b.git", ".git"]
    bare = folders[:-1]
    for folder in folders:
        git(folder, "config", "--unset-all", "gc.auto")
    packs = {folder: list(folder.glob("objects/pack/*.pack")) for folder in bare}
    for folder in bare:
        for number in range(60):
            # As many packs as Git collects at, each of one commit.
            tree = git(folder, "rev-parse", "main^{tree}")
            commit = git(folder, "commit-tree", "-p", "main", "-m", f"commit {number}", tree)
            git(folder, "update-ref", "refs/heads/other", commit)
            subprocess.run(
                [GIT, f"--git-dir={folder}", "pack-objects", "--quiet", f"{folder}/objects/pack/pack"],
                input=commit,
                text=True,
                check=True,
                capture_output=True,
            )
    run(
        Housekeeper(machine.store, machine.repository, Retention(90, 30), Parts(machine.config.transfers_dir))
    )
    for folder in folders:
        assert git(folder, "config", "gc.auto") == "0"
    for folder in bare:
        assert len(list(folder.glob("objects/pack/*.pack"))) <= len(packs[folder]) + 2
    machine.finish(machine.run())


def test_a_mirror_keeps_what_a_roll_back_would_return_to(machine: Machine) -> None:
    mirror = machine.config.git_dir / f"{PROJECT}.git"
    machine.repository.make_bare(mirror)
    tree = git(mirror, "hash-object", "-w", "-t", "tree", "/dev/null")
    revisions: list[str] = []

    def deploy() -> list[str]:
        """A commit with a history of its own: the branch was rewritten. Returns which revisions stay."""
        revisions.append(git(mirror, "commit-tree", "-m", f"{len(revisions)}", tree))
        machine.projects.heads["main"] = revisions[-1]
        machine.finish(machine.run())
        run(
            Housekeeper(
                machine.store, machine.repository, Retention(90, 30), Parts(machine.config.transfers_dir)
            )
        )
        git(mirror, "gc", "--quiet", "--prune=now")
        there = git(mirror, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()
        return [each for each in revisions if each in there]

    assert deploy() == revisions[:1]
    assert deploy() == revisions[:2]
    assert deploy() == revisions[1:3]


def test_a_work_tree_with_too_many_objects_is_made_anew(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.finish(machine.run())
    folder = machine.repository.work_tree / ".git"
    # What no commit of the provider's repository has.
    ours = git(folder, "commit-tree", "-m", "not pushed", "main^{tree}")
    run(
        Housekeeper(machine.store, machine.repository, Retention(90, 30), Parts(machine.config.transfers_dir))
    )
    assert git(folder, "cat-file", "-t", ours) == "commit"
    monkeypatch.setattr(repository, "_MAX_LOOSE", 0)
    run(
        Housekeeper(machine.store, machine.repository, Retention(90, 30), Parts(machine.config.transfers_dir))
    )
    with pytest.raises(subprocess.CalledProcessError):
        git(folder, "cat-file", "-t", ours)
    assert git(folder, "config", "gc.auto") == "0"
    machine.projects.heads["main"] = "2" * 40
    job = machine.run()
    machine.finish(job)
    assert machine.history()[0] == machine.commit_of(job)


def test_a_damaged_repository_and_a_killed_gits_locks_keep_no_other_from_its_turn(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.finish(machine.run())
    damaged, locked = (machine.nodes.path(node) for node in ("node-a", "node-b"))
    (damaged / "HEAD").write_text("nothing")
    for lock in ("config.lock", "objects/info/commit-graph.lock"):
        (locked / lock).touch()
    caplog.clear()
    run(
        Housekeeper(machine.store, machine.repository, Retention(90, 30), Parts(machine.config.transfers_dir))
    )
    (said,) = caplog.messages
    assert said.startswith(f"{damaged}: not collected: ")
    assert not list(locked.rglob("*.lock"))


def test_a_new_provider_without_a_repository_needs_nothing(config: Config, clock: Any) -> None:
    config.data_dir.mkdir()
    assert (
        run(
            Housekeeper(
                Store(None, clock), Repository(config), Retention(90, 30), Parts(config.transfers_dir)
            )
        )
        == 0
    )


def test_a_round_that_fails_says_so_and_the_next_hours_begins_anew(machine: Machine) -> None:
    hours = Hours()
    keeper = Housekeeper(
        machine.store, machine.repository, Retention(90, 30), Parts(machine.config.transfers_dir), hours
    )
    settings = machine.operator_pushes(machine.config.data_dir / "clone", {"nodes": []})
    assert settings
    with pytest.raises(HostenvError, match="nodes"):
        keeper.step()
    assert run(keeper) == 0


def test_what_a_live_move_has_sent_goes_once_its_job_has_ended(machine: Machine) -> None:
    parts, job = Parts(machine.config.transfers_dir), machine.run()
    for each in (job, "gone"):
        parts.keep(each, "shop", "delta-1", Path.touch)
    keeper = Housekeeper(machine.store, machine.repository, Retention(90, 30), parts)
    run(keeper)
    assert parts.find(job, "shop", "delta-1") is not None
    assert parts.find("gone", "shop", "delta-1") is None
    machine.store.fail(job, "no")
    run(Housekeeper(machine.store, machine.repository, Retention(90, 30), parts))
    assert parts.find(job, "shop", "delta-1") is None
