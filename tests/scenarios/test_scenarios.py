"""The fault scenarios on lab machines; those that take longest only with `-m long`.

`HOSTENV_LAB_TEST_MACHINES=vm` runs them on VMs, `HOSTENV_LAB_TEST_COMIN` with that comin;
`HOSTENV_HOMES` says how many hostile homes there are.
"""

import os
from pathlib import Path
from typing import cast

import pytest
from hostenv_demo.demo import DESCRIPTION
from hostenv_lab import description, host
from hostenv_lab.lab import Lab
from hostenv_lab.log import Event
from hostenv_scenarios.figures import from_log

FOLDER = Path(__file__).parent
MACHINES = cast(host.Choice, os.environ.get("HOSTENV_LAB_TEST_MACHINES", "container"))
COMIN = os.environ.get("HOSTENV_LAB_TEST_COMIN")
pytestmark = pytest.mark.machine


def run(name: str, workdir: Path) -> list[Event]:
    events: list[Event] = []
    given = {"comin": Path(COMIN)} if COMIN else {}
    described = description.load(DESCRIPTION)
    with Lab(described, workdir, MACHINES, given=given, on_event=events.append) as lab:
        lab.driver.run_script(FOLDER / f"{name}.py")
    return events


def lose_nothing(name: str, workdir: Path) -> None:
    figures = from_log(event.text for event in run(name, workdir))
    assert figures
    assert [figure for figure in figures if figure.lost] == []


@pytest.mark.parametrize(
    "name", ["moves", "node_crashes", "broken_target", "broken_push", "comin_killed", "long_lived"]
)
def test_nothing_is_lost(name: str, tmp_path: Path) -> None:
    lose_nothing(name, tmp_path / "work")


@pytest.mark.long
@pytest.mark.parametrize(
    "name", ["service_killed", "links_cut", "more_moves", "more_node_crashes", "more_broken_targets"]
)
def test_nothing_is_lost_however_long_it_takes(name: str, tmp_path: Path) -> None:
    lose_nothing(name, tmp_path / "work")


@pytest.mark.long
def test_no_home_holds_up_another_projects_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTENV_HOMES", os.environ.get("HOSTENV_HOMES", "200"))
    run("hostile_homes", tmp_path / "work")


@pytest.mark.long
def test_no_project_waits_for_anothers_job(tmp_path: Path) -> None:
    run("side_by_side", tmp_path / "work")
