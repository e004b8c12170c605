"""The driver without machines: names, waiting, conditions, and how a failure is told."""

import base64
import contextlib
import io
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hostenv_core.errors import HostenvError
from hostenv_lab.driver import Driver, explain, pythonize
from hostenv_lab.errors import MachineError, PollingConditionError, RequestedAssertionFailed
from hostenv_lab.log import Event, FileSink, Log
from hostenv_lab.machine import BaseMachine, parse_properties, retry


def make_driver(events: list[Event] | None = None) -> Driver:
    return Driver([], Log((events if events is not None else []).append), 1.0)


@pytest.mark.parametrize(
    ("name", "variable"), [("node-a", "node_a"), ("provider", "provider"), ("1x", "_x"), ("a.b", "a_b")]
)
def test_a_machines_variable(name: str, variable: str) -> None:
    assert pythonize(name) == variable


def test_a_script_imports_what_lies_beside_it_and_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "shared_by_scripts.py").write_text("VALUE = 7\n")
    before = list(sys.path)
    driver = Driver([], Log(), 1.0)
    run_text(driver, tmp_path, "from shared_by_scripts import VALUE\nassert VALUE == 7\n")
    assert sys.path == before


def test_retry_calls_once_more_after_the_limit() -> None:
    seen: list[bool] = []

    def never(last: bool) -> bool:
        seen.append(last)
        return False

    with pytest.raises(RequestedAssertionFailed, match="timed out after 0 seconds"):
        retry(never, 0)
    assert seen == [True]

    retry(lambda last: last, 0)


def test_retry_looks_often_at_first_and_then_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    def look(_last: bool) -> bool:
        looks.append(round(now, 1))
        return len(looks) == 7

    monkeypatch.setattr("hostenv_lab.machine.time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    retry(look, 60)
    assert looks == [0, 0.1, 0.3, 0.7, 1.5, 2.5, 3.5]


def test_a_factor_stretches_retry() -> None:
    driver = Driver([], Log(), 0.0)
    calls: list[bool] = []

    def once(last: bool) -> bool:
        calls.append(last)
        return True

    driver.retry(once, 900)
    assert calls == [True]


def test_properties_keep_their_equal_signs() -> None:
    assert parse_properties("ActiveState=active\n\nEnvironment=A=1 B=2\n") == {
        "ActiveState": "active",
        "Environment": "A=1 B=2",
    }


def run_text(driver: Driver, folder: Path, text: str) -> Path:
    script = folder / "script.py"
    script.write_text(text)
    driver.run_script(script)
    return script


def test_a_script_finds_the_names_and_asserts_with_t(tmp_path: Path) -> None:
    driver = make_driver()
    text = (
        "start_all(); join_all(); t.assertEqual(machines, []); assert driver.machines is machines\n"
        "log.info('hello'); retry(lambda last: True, 5); os.getcwd()\n"
        "assert '__file__' not in globals()\n"
        "t.assertEqual(1, 2)\n"
    )
    with pytest.raises(RequestedAssertionFailed, match="1 != 2"):
        run_text(driver, tmp_path, text)


def test_a_failure_is_told_with_the_scripts_lines_only(tmp_path: Path) -> None:
    with pytest.raises(RequestedAssertionFailed) as caught:
        run_text(make_driver(), tmp_path, "with subtest('one'):\n    t.assertTrue(False)\n")
    told = explain(caught.value, tmp_path / "script.py")
    assert "t.assertTrue(False)" in told
    assert told.splitlines()[-1] == "RequestedAssertionFailed: False is not true"
    assert "driver.py" not in told
    # a mistake of the script is told in full
    with pytest.raises(NameError) as mistake:
        run_text(make_driver(), tmp_path, "absent()\n")
    assert "driver.py" in explain(mistake.value, tmp_path / "script.py")


def test_subtests_and_waits_are_logged_with_their_time(tmp_path: Path) -> None:
    events: list[Event] = []
    run_text(make_driver(events), tmp_path, "with subtest('one'):\n    log.warning('look')\n")
    assert [(event.kind, event.text) for event in events] == [
        ("stage", "one"),
        ("warning", "look"),
        ("stage-end", "one"),
    ]
    assert events[-1].seconds is not None
    sink = FileSink(tmp_path / "log")
    for event in events:
        sink(event)
    sink.close()
    lines = [line[9:] for line in (tmp_path / "log").read_text().splitlines()]
    assert lines[:2] == ["== one", "warning: look"]
    assert lines[2].startswith("(finished: one, in ")


def test_a_condition_is_looked_at_while_it_is_demanded() -> None:
    driver = make_driver()
    answers = [False, True]
    holds = driver.polling_condition(seconds_interval=0, description="it holds")(answers.pop)
    driver.check_conditions()
    assert len(answers) == 2
    with holds:
        driver.check_conditions()
        with pytest.raises(PollingConditionError, match="it holds"):
            driver.check_conditions()
        answers.append(True)
    driver.check_conditions()
    assert answers == []


def test_a_condition_is_looked_at_when_its_block_ends() -> None:
    driver = make_driver()
    with pytest.raises(PollingConditionError), driver.polling_condition(lambda: False):
        pass


def test_a_condition_that_only_raises_holds_otherwise() -> None:
    driver = make_driver()

    @driver.polling_condition
    def quiet() -> None:
        """says nothing"""

    with quiet:
        driver.check_conditions()
    quiet.wait(1)


def test_a_condition_may_use_machines_itself() -> None:
    driver = make_driver()
    depth = 0

    def nested() -> bool:
        nonlocal depth
        depth += 1
        driver.check_conditions()
        return True

    with driver.polling_condition(seconds_interval=0)(nested):
        driver.check_conditions()
    assert depth == 2


def test_every_machine_that_does_not_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __init__(self, name: str) -> None:
            self.name = name

        def start(self) -> None:
            raise MachineError("no power")

    driver = make_driver()
    monkeypatch.setattr(driver, "machines", [Broken("b"), Broken("a")])
    with pytest.raises(MachineError, match=r"machines did not start: a: no power; b: no power"):
        driver.start_all()


def test_a_prompt_gets_the_same_names() -> None:
    names = make_driver().names()
    assert {"BaseMachine", "driver", "join_all", "log", "machines", "os", "polling_condition"} < set(names)


def fetch(output: Path, member: str) -> None:
    """Copy one file of this name and content from a machine that is not there."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        info = tarfile.TarInfo(member)
        info.size = len(b"content")
        archive.addfile(info, io.BytesIO(b"content"))
    machine = SimpleNamespace(
        nested=lambda _text: contextlib.nullcontext(),
        _demand=lambda *_: base64.b64encode(packed.getvalue()).decode(),
        _setting=SimpleNamespace(output_dir=output),
    )
    BaseMachine.copy_from_machine(cast(BaseMachine, machine), f"/srv/{member}", "fetched")


def test_files_are_fetched_by_a_python_without_extraction_filters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_python_3_11_2(_archive: tarfile.TarFile, path: str, *, numeric_owner: bool = False) -> None:
        raise AssertionError(f"{path}, {numeric_owner}: extracted without a filter")

    monkeypatch.setattr(tarfile.TarFile, "extractall", of_python_3_11_2)
    fetch(tmp_path, "file")
    assert (tmp_path / "fetched" / "file").read_text() == "content"
    with pytest.raises(HostenvError, match="tar"):
        fetch(tmp_path, "../escaped")
    assert not (tmp_path / "escaped").exists()
