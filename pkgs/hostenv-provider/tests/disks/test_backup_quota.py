"""How much an environment's backups may hold: what counts, what is let in, and what a job says of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hostenv_core.states import JobState
from hostenv_provider.config import Config
from hostenv_provider.disks.backup_quota import FILE_BYTES, LOCKS_BYTES, BackupQuota, measure
from hostenv_provider.rules.jobs import Request
from provider_support import PROJECT, Machine

USER = "drupal-main-2855093"
QUOTA = 16 << 20
FULL = (
    f"the backups of {USER} have used up their quota of 16 MiB: "
    "prune them on the provider, or raise backupQuota"
)


@pytest.fixture
def config(config: Config) -> Config:
    return replace(config, backup_quota=QUOTA)


class Time:
    """A monotonic clock that tests move."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def machine(new_provider: Path, config: Config, clock: Any) -> Machine:
    return Machine.copy(new_provider, config, clock)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def quota(config: Config, time: Time) -> BackupQuota:
    return BackupQuota(config, time)


def store(config: Config, length: int, name: str = "pack") -> Path:
    """A file without blocks on the disk."""
    path = config.backups_dir / USER / "data" / "00" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(length)
    return path


def test_all_files_below_count_and_the_small_ones_as_more(config: Config) -> None:
    folder = config.backups_dir / USER
    assert measure(folder) == 0
    store(config, 5 << 20)
    (folder / "config").write_text("small")
    (folder / "elsewhere").symlink_to("/etc")
    assert measure(folder) == (5 << 20) + FILE_BYTES


def test_what_is_let_in_counts_before_it_is_measured(config: Config, quota: BackupQuota) -> None:
    store(config, 6 << 20)
    assert quota.admit(USER, 10 << 20) is None
    assert quota.refusal(USER) is None
    assert quota.admit(USER, 1) == FULL
    assert quota.refusal(USER) == FULL
    assert quota.admit("drupal-other-1", QUOTA) is None, "each environment has its own"
    assert quota.admit("drupal-third-1", QUOTA + 1) is not None


def test_small_files_use_it_up_as_well(quota: BackupQuota) -> None:
    admitted = 0
    while quota.admit(USER, 1) is None:
        admitted += 1
    assert admitted == QUOTA // FILE_BYTES


def test_what_was_pruned_is_seen_a_minute_later(config: Config, quota: BackupQuota, time: Time) -> None:
    pack = store(config, QUOTA)
    assert quota.admit(USER, 1) == FULL
    pack.unlink()
    time.now += 59
    assert quota.admit(USER, 1) == FULL
    time.now += 1
    assert quota.admit(USER, 1) is None
    assert quota.refusal(USER) is None


def test_a_folder_that_takes_long_is_measured_less_often(
    quota: BackupQuota, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def slow(folder: Path) -> int:
        measured.append(folder)
        time.now += 10
        return 0

    monkeypatch.setattr("hostenv_provider.disks.backup_quota.measure", slow)
    quota.admit(USER, 1)
    time.now += 199
    quota.admit(USER, 1)
    assert len(measured) == 1
    time.now += 1
    quota.admit(USER, 1)
    assert len(measured) == 2


def test_a_restore_has_its_lock_when_the_quota_is_used_up(config: Config, quota: BackupQuota) -> None:
    store(config, QUOTA)
    assert quota.admit(USER, 1) == FULL
    for _ in range(LOCKS_BYTES // FILE_BYTES):
        assert quota.admit_lock(USER, 300) is None
    assert "locks" in (quota.admit_lock(USER, 300) or "")


def test_a_move_waits_for_room_before_anything_is_frozen(machine: Machine, clock: Any) -> None:
    machine.finish(machine.run())
    store(machine.config, QUOTA)

    move = machine.run(Request(PROJECT, frozenset(), placements={USER: "node-b"}))

    assert machine.state(move) is JobState.QUEUED
    waiting = machine.store.job(move)
    assert waiting is not None
    assert waiting.obstacle == FULL
    assert machine.ops(move) == []
    clock.move(1800)
    machine.work()
    clock.move(300)
    machine.work()
    assert machine.state(move) is JobState.FAILED
    assert FULL in machine.reason(move)
