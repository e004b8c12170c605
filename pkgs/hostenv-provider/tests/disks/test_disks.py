"""Full disks, each a small file system of its own: what waits, what goes on, and until when."""

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostenv_core.states import JobState
from hostenv_provider.config import Config
from hostenv_provider.disks import free_space
from hostenv_provider.disks.free_space import Disks, NoRoom
from hostenv_provider.rules.jobs import Request
from provider_support import PROJECT, Machine, definition

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")

USER = "drupal-main-2855093"
MakeDisk = Callable[[Path], None]


@pytest.fixture(autouse=True)
def small_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_space, "JOB_BYTES", 4 << 20)
    monkeypatch.setattr(free_space, "ACCEPTED_BYTES", 2 << 20)


@pytest.fixture
def own_disk() -> Iterator[MakeDisk]:
    """Gives a folder, with what is in it, 16 MiB of its own."""
    mounted: list[Path] = []

    def make(folder: Path) -> None:
        kept = folder.with_name(f"{folder.name}.kept")
        folder.mkdir(exist_ok=True)
        shutil.copytree(folder, kept)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=True)
        mounted.append(folder)
        shutil.copytree(kept, folder, dirs_exist_ok=True)

    yield make
    for folder in reversed(mounted):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes what is left."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 20))
        except OSError:
            return path


@pytest.fixture
def machine(new_provider: Path, config: Config, clock: Any) -> Machine:
    return Machine.copy(new_provider, config, clock)


def obstacle(machine: Machine, job: str) -> str:
    recorded = machine.store.job(job)
    assert recorded is not None
    return str(recorded.obstacle)


@pytest.mark.parametrize("name", ["git", "repo"])
def test_a_job_waits_for_room_and_the_job_database_works_on(
    machine: Machine, clock: Any, own_disk: MakeDisk, name: str
) -> None:
    # Of the data folder as a whole it is the disk of the job database too.
    folder = machine.config.git_dir if name == "git" else machine.config.data_dir
    own_disk(folder)
    if name == "repo":
        machine = Machine.start(machine.config, machine.projects, clock)
    filler = folder / "filler"
    filler.write_bytes(bytes(os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize - (3 << 20)))

    job = machine.run()

    assert machine.state(job) is JobState.QUEUED
    assert re.search(r"a job needs 4 MiB on this disk, \d MiB are free: make room$", obstacle(machine, job))
    filler.unlink()
    clock.move(10)
    machine.work()
    assert machine.state(job) is JobState.WAITING


def test_a_full_git_disk_stops_nothing_but_jobs(
    machine: Machine, clock: Any, own_disk: MakeDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_disk(machine.config.git_dir)
    filler = fill(machine.config.git_dir)
    job = machine.run()
    assert machine.state(job) is JobState.QUEUED

    # Though it filled up behind the check, nothing is half-made.
    monkeypatch.setattr(free_space, "JOB_BYTES", 0)
    clock.move(10)
    machine.work()
    assert machine.state(job) in (JobState.QUEUED, JobState.FAILED)
    assert len(machine.history()) == 1

    filler.unlink()
    later = machine.run()
    assert machine.state(later) is JobState.WAITING


def test_a_move_is_refused_before_anything_is_frozen_if_backups_have_no_room(
    machine: Machine, clock: Any, own_disk: MakeDisk
) -> None:
    first = machine.run()
    machine.finish(first)
    own_disk(machine.config.backups_dir)
    filler = fill(machine.config.backups_dir)

    move = machine.run(Request(PROJECT, frozenset(), placements={USER: "node-b"}))

    assert machine.state(move) is JobState.QUEUED
    assert "backups: a job with a backup needs 4 MiB" in obstacle(machine, move)
    assert machine.ops(move) == []
    clock.move(1800)
    machine.work()
    clock.move(300)
    machine.work()
    assert machine.state(move) is JobState.FAILED
    assert "make room" in machine.reason(move)

    machine.projects.definitions = {"main": definition("main", "staging")}
    push = machine.run(Request(PROJECT, frozenset({"staging"})))
    assert machine.state(push) is JobState.WAITING, "what backs nothing up goes on"
    machine.finish(push)
    filler.unlink()
    again = machine.run(Request(PROJECT, frozenset(), placements={USER: "node-b"}))
    assert ("node-a", "backup", USER) in machine.ops(again)


def test_a_webhook_is_taken_again_when_there_is_room(
    api: Any, environment: Any, own_disk: MakeDisk, caplog: pytest.LogCaptureFixture
) -> None:
    own_disk(api.config.data_dir)
    filler = fill(api.config.data_dir)
    path = f"/webhook/{environment('main').project_name_hash}"

    answer = api.request("POST", path)

    assert answer.status == 503
    assert answer.json == {"error": "not possible now; the service's log tells why"}
    (line,) = caplog.messages
    assert "a new job needs 2 MiB on this disk, 0 MiB are free: make room" in line
    filler.unlink()
    assert api.request("POST", path).status == 202


def test_a_disk_that_fills_up_meanwhile_is_waited_for_too(
    machine: Machine, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, _content: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    with monkeypatch.context() as patch:
        patch.setattr(machine.repository, "write_text", full)
        job = machine.run()
    assert obstacle(machine, job) == "flake.lock: No space left on device: make room"

    clock.move(10)
    machine.work()
    assert machine.state(job) is JobState.WAITING


def test_a_folder_that_is_not_there_yet_has_the_room_of_the_one_above(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    Disks(config).demand_for_backups([])
    monkeypatch.setattr(free_space, "JOB_BYTES", 1 << 60)
    with pytest.raises(NoRoom):
        Disks(config).demand_for_backups([])
