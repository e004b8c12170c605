"""A stranger's flake in its box, on a lab machine; `HOSTENV_FLAKES` says how many hostile ones there are."""

import os
from pathlib import Path

import pytest
from hostenv_demo.demo import DESCRIPTION
from hostenv_lab import description
from hostenv_lab.lab import Lab
from hostenv_scenarios.flakes import ATTEMPTS, HARMLESS
from hostenv_scenarios.hostile_flakes import TREES, flakes

FOLDER = Path(__file__).parent


def test_what_is_tried_is_not_called_harmless() -> None:
    assert not {attempt.builtin for attempt in ATTEMPTS} & HARMLESS


def test_a_seed_makes_the_same_flakes_and_says_what_they_are() -> None:
    made = flakes(7, 20)
    assert made == flakes(7, 20) != flakes(8, 20)
    for flake in made:
        assert str(flake).startswith(f"flake {flake.number} of seed 7: {flake.tree}: ")
        assert "flake.nix" in {**flake.files, **flake.links}
        assert not set(flake.files) & set(flake.links)


def test_every_tree_comes_up_before_one_does_again() -> None:
    assert {flake.tree for flake in flakes(1, len(TREES))} == {tree.name for tree in TREES}


@pytest.mark.machine
@pytest.mark.parametrize("count", [24, pytest.param(400, marks=pytest.mark.long)])
def test_a_flake_reads_and_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setenv("HOSTENV_FLAKES", os.environ.get("HOSTENV_FLAKES", str(count)))
    described = description.load(DESCRIPTION)
    with Lab(described, tmp_path / "work", "container") as lab:
        lab.driver.run_script(FOLDER / "flakes.py")
