"""A stranger's flake in its box, on a lab machine."""

from pathlib import Path

import pytest
from hostenv_lab import description
from hostenv_lab.lab import Lab
from hostenv_scenarios.flakes import ATTEMPTS, HARMLESS

FOLDER = Path(__file__).parent


def test_what_is_tried_is_not_called_harmless() -> None:
    assert not {attempt.builtin for attempt in ATTEMPTS} & HARMLESS


@pytest.mark.machine
def test_a_flake_reads_and_fetches_nothing(tmp_path: Path) -> None:
    described = description.load(FOLDER.parent / "lab" / "machines.toml")
    with Lab(described, tmp_path / "work", "container") as lab:
        lab.driver.run_script(FOLDER / "flakes.py")
