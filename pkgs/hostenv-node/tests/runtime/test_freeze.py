from pathlib import Path

from hostenv_node.runtime.freeze import Freezes


def test_only_its_own_job_lifts_a_freeze(tmp_path: Path) -> None:
    freezes = Freezes(tmp_path / "freeze")
    freezes.freeze("u", "job-1")
    assert not freezes.thaw("u", "job-2")
    assert freezes.holder("u") == "job-1"
    assert freezes.thaw("u", "job-1")
    assert freezes.holder("u") is None
    assert not freezes.thaw("u", "job-1")


def test_a_later_job_takes_a_freeze_over(tmp_path: Path) -> None:
    freezes = Freezes(tmp_path / "freeze")
    freezes.freeze("u", "job-1")
    freezes.freeze("u", "job-2")
    assert not freezes.thaw("u", "job-1")
    assert freezes.holder("u") == "job-2"


def test_lifting_what_is_not_frozen_is_nothing(tmp_path: Path) -> None:
    freezes = Freezes(tmp_path / "freeze")
    freezes.lift("u")
    assert not freezes.directory.exists()


def test_freezing_and_thawing_survive_a_loss_of_power(tmp_path: Path, synchronised: list[str]) -> None:
    freezes = Freezes(tmp_path / "freeze")
    freezes.freeze("u", "job-1")
    assert synchronised == [".u.new", "freeze"]
    synchronised.clear()
    freezes.thaw("u", "job-1")
    assert synchronised == ["freeze"]
