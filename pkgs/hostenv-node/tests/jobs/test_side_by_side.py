"""Jobs of different projects work side by side: what one waits for, fails at or takes is its own."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from hostenv_core.intents import Action
from hostenv_core.locks import locked, locked_if_free
from hostenv_node.cli import main
from hostenv_node.config import Config
from hostenv_node.errors import OperationFailed
from hostenv_node.jobs import units
from hostenv_node.jobs.journal import JobJournal, Progress
from hostenv_node.jobs.journal_store import JournalStore
from hostenv_node.jobs.overview import overview
from node_support import (
    C1,
    C2,
    ENTRY,
    MOVE_IN,
    MOVE_OUT,
    RELOAD,
    USER,
    Node,
    Provider,
    RecordedOperations,
    action,
    switch,
)

SHOP = "shop-main-1234567"


@pytest.fixture
def slots(node: Node) -> list[Path]:
    node.config = replace(node.config, parallel_jobs=2)
    return [node.config.locks_dir / f"slot-{number}.lock" for number in range(2)]


def free(slots: list[Path]) -> list[bool]:
    found = []
    for path in slots:
        with locked_if_free(path) as is_free:
            found.append(is_free)
    return found


def test_a_job_holds_a_slot_while_it_works_and_none_while_it_waits_for_another_node(
    node: Node, provider: Provider, operations: RecordedOperations, slots: list[Path]
) -> None:
    job = provider.add_job("job", C1, {"node-b": MOVE_IN, "node-a": MOVE_OUT})
    job.snapshots = {"data": "0123abcd"}
    provider.verify_when_activated(job)
    seen: dict[str, list[bool]] = {}

    def backed_up() -> None:
        seen["wait"] = free(slots)
        job.row("node-a", "backup")["status"] = "success"

    provider.on_wait = [backed_up]
    for operation in ("restore", "activate", "thaw"):
        operations.during[operation] = lambda operation=operation: seen.update({operation: free(slots)})
    node.activate()
    assert seen == {
        "wait": [True, True],
        "restore": [False, True],
        "activate": [False, True],
        "thaw": [False, True],
    }
    assert free(slots) == [True, True]


def test_a_job_holds_no_slot_during_rounds_whose_other_side_may_wait_for_one(
    node: Node, provider: Provider, operations: RecordedOperations, slots: list[Path]
) -> None:
    restore, activate = MOVE_IN
    job = provider.add_job(
        "job", C1, {"node-b": [restore, action("sync", USER, "node-a", "node-b"), activate]}
    )
    job.snapshots = {"data": "0123abcd"}
    provider.verify_when_activated(job)
    seen: dict[str, list[bool]] = {}
    for operation in ("restore", "sync", "activate"):
        operations.during[operation] = lambda operation=operation: seen.update({operation: free(slots)})
    node.activate()
    assert seen == {"restore": [False, True], "sync": [True, True], "activate": [False, True]}


def test_a_job_without_a_slot_says_so_and_looks_again_when_it_has_one(
    node: Node,
    provider: Provider,
    operations: RecordedOperations,
    slots: list[Path],
    generation: Callable[..., Path],
) -> None:
    job = provider.add_job("job", C1, {"node-b": RELOAD})
    with ExitStack() as others:
        for path in slots:
            others.enter_context(locked(path))

        def verdict_while_it_waits() -> None:
            others.close()
            job.state = "failed"

        provider.on_event[("waiting", "intent")] = verdict_while_it_waits
        node.activate()
    assert operations.calls == []
    assert node.open_jobs() == []

    provider.add_job("next", C2, {"node-b": RELOAD})
    switch(node.config, generation(C2, environments={USER: ENTRY}))
    with ExitStack() as others:
        for path in slots:
            others.enter_context(locked(path))
        provider.on_event[("waiting", "intent")] = others.close
        node.activate()
    assert [body["message"] for body in provider.bodies[:2]] == [
        "waits until one of 2 other jobs (parallelJobs) has done its step here",
        None,
    ]
    assert node.told() == ["waiting/intent", "waiting/intent", "running/reload", "success/reload"]


def test_what_fails_for_ever_in_one_project_keeps_no_slot(
    node: Node, provider: Provider, operations: RecordedOperations, slots: list[Path]
) -> None:
    job = provider.add_job("job", C1, {"node-b": RELOAD})
    provider.verify_when_activated(job, op="reload")
    for _ in range(3):
        operations.failures["keep"] = OperationFailed("chmod 555")
        node_fails(node)
        assert free(slots) == [True, True]


def node_fails(node: Node) -> None:
    with pytest.raises(Exception, match=f"tries again: {USER}"):
        node.activate()


def test_the_units_of_all_open_jobs_are_started_at_once_and_not_waited_for(
    configure: Callable[..., Config], tmp_path: Path
) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(
        f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\nprintf "activating\\ninactive\\nfailed\\n"\n'
    )
    systemctl.chmod(0o755)
    config = configure(tools={"systemctl": str(systemctl)})
    units.start(config, ["a", "b"])
    assert units.running(config, ["a", "b", "c"]) == {"a"}
    assert units.running(config, []) == set()
    assert (tmp_path / "asked").read_text().splitlines() == [
        "start --no-block hostenv-job@a.service hostenv-job@b.service",
        "is-active hostenv-job@a.service hostenv-job@b.service hostenv-job@c.service",
    ]


def journal(job: str, order: int, *actions: Action) -> JobJournal:
    return JobJournal.opened(job, C1, "node-b", order, actions)


RESTORE = Action("restore", USER, "node-a", "node-b", ("data",))
RELOADS = Action("reload", SHOP, "node-b", "node-b", ())
LEAVES = Action("deactivate", SHOP, "node-b", "node-a", ())


@pytest.mark.parametrize(
    ("open_job", "doing"),
    [
        (journal("job", 1, RELOADS), "is about to begin"),
        (journal("job", 1, RESTORE).announced(0), "waits for the backup on node-a"),
        (journal("job", 1, LEAVES).announced(0), "waits for the provider's check of node-a"),
        (journal("job", 1, RELOADS).started(0), "is under way"),
        (
            journal("job", 1, RELOADS).started(0).ended(0, Progress.FAILED),
            "tells the provider how it ended: failed",
        ),
        (
            journal("job", 1, RELOADS).started(0).ended(0, Progress.TIMED_OUT).reported(0),
            "has ended (timed_out), waits for the job's verdict",
        ),
        (
            journal("job", 1, RELOADS).started(0).ended(0, Progress.SUCCESS).reported(0),
            "waits for the provider's check",
        ),
        (journal("job", 1, RELOADS).started(0).troubled(SHOP, "could not keep"), "could not keep"),
        (journal("job", 1, RELOADS).showing("waits for a slot"), "waits for a slot"),
        (journal("job", 1), "tells the provider that all is done"),
        (journal("job", 1).done(), "waits for the job's verdict"),
    ],
)
def test_what_an_open_job_does_or_waits_for_is_said(open_job: JobJournal, doing: str) -> None:
    assert [each.doing for each in overview([open_job])] == [doing]


def test_a_job_that_waits_for_an_earlier_one_names_it() -> None:
    first, second, other = (
        journal("first", 1, RESTORE),
        journal("second", 2, replace(RESTORE, op="reload")),
        journal("other", 3, RELOADS),
    )
    assert [(each.job, each.op, each.user, each.doing) for each in overview([first, second, other])] == [
        ("first", "restore", USER, "is about to begin"),
        ("second", "reload", USER, "waits for what job first left to do here"),
        ("other", "reload", SHOP, "is about to begin"),
    ]


def test_the_jobs_of_a_node_are_listed(
    configure: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text('#!/bin/sh\nprintf "activating\\ninactive\\n"\n')
    systemctl.chmod(0o755)
    config = configure(tools={"systemctl": str(systemctl)})
    monkeypatch.setenv("HOSTENV_NODE_CONFIG", str(tmp_path / "node.json"))
    assert main(["jobs"]) == 0
    assert capsys.readouterr().out == "no job is open here\n"
    store = JournalStore(config.jobs_dir)
    store.save(journal("first", 1, RELOADS).started(0))
    store.save(journal("second", 2).done())
    assert main(["jobs"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("first  since 20")
    assert first.endswith(f"  reload of {SHOP}: is under way")
    assert second.endswith(
        "  all actions: waits for the job's verdict; its unit does not run, the timer starts it"
    )
    assert main(["jobs", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [(each["job"], each["op"], each["running"]) for each in shown] == [
        ("first", "reload", True),
        ("second", None, False),
    ]
    assert shown[0]["since"].endswith("+00:00")
    assert main(["jobs", "--yaml"]) == 2
