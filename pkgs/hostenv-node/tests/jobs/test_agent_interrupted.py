"""An activation that power or the link to the provider ended: the next one goes on where it was."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hostenv_core.errors import HostenvError
from hostenv_node.jobs.api import Unreachable
from node_support import (
    C1,
    C2,
    ENTRY,
    MOVE_IN,
    MOVE_OUT,
    USER,
    Node,
    Provider,
    RecordedOperations,
    action,
    switch,
)


class Power(BaseException):
    """The machine loses its power."""


@pytest.mark.parametrize("where", ["restore", "activate", "thaw"])
def test_power_loss_in_the_middle_resumes_at_the_first_unfinished_action(
    node: Node, provider: Provider, operations: RecordedOperations, where: str
) -> None:
    job = provider.add_job("job", C1, {"node-b": MOVE_IN, "node-a": MOVE_OUT})
    job.row("node-a", "backup")["status"] = "success"
    job.snapshots = {"data": "0123abcd"}
    provider.verify_when_activated(job)
    operations.failures[where] = Power()
    with pytest.raises(Power):
        node.activate()
    before = ["restore", "activate", "thaw"][: ["restore", "activate", "thaw"].index(where) + 1]
    assert operations.names() == before
    node.activate()
    assert "&open=job" in next(each for each in provider.requests[::-1] if "/pending?" in each), (
        "the provider keeps the verdict of what is open"
    )
    assert operations.names() == [*before, *["restore", "activate", "thaw"][len(before) - 1 :]]
    assert node.told()[-1] == "success/intent"


def test_what_was_told_before_a_power_loss_is_not_forgotten(
    node: Node, provider: Provider, operations: RecordedOperations
) -> None:
    provider.add_job("job", C1, {"node-b": [action("backup", to_node="node-a")]})
    operations.warning = "rounds"
    operations.failures["backup"] = Power()
    with pytest.raises(Power):
        node.activate()
    node.activate()
    (success,) = [
        body for body in provider.bodies if (body["status"], body["phase"]) == ("success", "backup")
    ]
    assert success["message"] == "rounds"


def test_what_a_power_loss_left_half_done_is_undone_when_the_job_failed_meanwhile(
    node: Node, provider: Provider, operations: RecordedOperations
) -> None:
    job = provider.add_job("job", C1, {"node-b": [action("activate", to_node="node-b")]})
    operations.failures["activate"] = Power()
    with pytest.raises(Power):
        node.activate()
    job.state = "failed"
    node.activate()
    assert operations.names() == ["activate", "withdraw"]
    assert node.open_jobs() == []


def test_link_that_fails_after_the_work_only_delays_the_report(
    node: Node, provider: Provider, operations: RecordedOperations
) -> None:
    job = provider.add_job("job", C1, {"node-b": [action("activate", to_node="node-b")]})
    operations.during["activate"] = lambda: provider.failures.extend([503] * 7)
    with pytest.raises(HostenvError, match="no usable answer"):
        node.activate()
    provider.verify_when_activated(job)
    node.activate()
    assert operations.names() == ["activate", "thaw"]
    assert node.told() == ["running/activate", "success/activate", "success/intent"]


@pytest.mark.parametrize(
    "event", [("waiting", "restore"), ("running", "restore"), ("success", "restore"), ("success", "intent")]
)
def test_event_that_did_not_arrive_is_sent_by_the_next_run(
    node: Node, provider: Provider, operations: RecordedOperations, event: tuple[str, str]
) -> None:
    job = provider.add_job("job", C1, {"node-b": MOVE_IN, "node-a": MOVE_OUT})
    job.snapshots = {"data": "0123abcd"}
    provider.on_wait = [lambda: job.row("node-a", "backup").update(status="success")]
    provider.verify_when_activated(job)
    provider.refusals = {event: [503] * 7}
    with pytest.raises(HostenvError, match="no usable answer"):
        node.activate()
    node.activate()
    assert node.told() == [
        "waiting/restore",
        "running/restore",
        "success/restore",
        "running/activate",
        "success/activate",
        "success/intent",
    ]
    assert operations.names() == ["restore", "activate", "thaw"]


def test_provider_that_is_away_during_an_action_is_no_fault_of_it(
    node: Node, provider: Provider, operations: RecordedOperations
) -> None:
    job = provider.add_job("job", C1, {"node-b": MOVE_IN, "node-a": MOVE_OUT})
    job.row("node-a", "backup")["status"] = "success"
    job.snapshots = {"data": "0123abcd"}
    provider.on_event[("running", "restore")] = lambda: provider.failures.extend([503] * 7)
    with pytest.raises(HostenvError, match="no usable answer"):
        node.activate()
    provider.verify_when_activated(job)
    node.activate()
    assert "failed/restore" not in node.told()
    assert operations.names() == ["restore", "activate", "thaw"]


def test_operation_that_the_providers_absence_interrupts_is_done_again(
    node: Node, provider: Provider, operations: RecordedOperations
) -> None:
    job = provider.add_job("job", C1, {"node-b": [action("activate", to_node="node-b")]})
    operations.failures["activate"] = Unreachable("no secrets")
    with pytest.raises(Unreachable):
        node.activate()
    provider.verify_when_activated(job)
    node.activate()
    assert operations.names() == ["activate", "activate", "thaw"]
    assert node.told()[-1] == "success/intent"


def test_job_that_the_provider_does_not_know_gets_no_verdict(
    node: Node, provider: Provider, operations: RecordedOperations
) -> None:
    provider.add_job("job", C1, {"node-b": MOVE_IN, "node-a": MOVE_OUT}).row("node-a", "backup")["status"] = (
        "success"
    )
    provider.jobs["job"].snapshots = {"data": "0123abcd"}
    operations.during["restore"] = lambda: provider.failures.extend([503] * 7)
    with pytest.raises(HostenvError, match="no usable answer"):
        node.activate()
    provider.jobs.clear()
    node.activate()
    assert operations.names() == ["restore"]
    assert node.open_jobs() == ["job"]
    assert "does not know it" in node.log[-1]


def test_job_that_the_provider_does_not_know_is_named_once_in_a_run_and_holds_up_nobody(
    node: Node, provider: Provider, operations: RecordedOperations, generation: Callable[..., Path]
) -> None:
    provider.add_job("lost", C1, {"node-b": [action("activate", to_node="node-b")]})
    operations.failures["activate"] = Power()
    with pytest.raises(Power):
        node.activate()
    del provider.jobs["lost"]
    other = provider.add_job("other", C2, {"node-b": [action("activate", to_node="node-b")]})
    provider.verify_when_activated(other)
    switch(node.config, generation(C2, environments={USER: ENTRY}))
    assert node.take_in() == ["lost", "other"]
    node.work("other")
    assert operations.names() == ["activate", "activate", "thaw"]
    assert len([line for line in node.log if "does not know it" in line]) == 1
