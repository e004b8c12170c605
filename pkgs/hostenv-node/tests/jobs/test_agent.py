"""The activation against a provider on a real connection; the runtime's operations only note their calls."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hostenv_core.errors import HostenvError
from hostenv_core.locks import locked
from hostenv_node.cli import main
from hostenv_node.config import Config
from hostenv_node.errors import OperationFailed, OperationTimedOut
from hostenv_node.jobs.api import Conflict
from node_support import (
    C1,
    C2,
    C3,
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

pytestmark = pytest.mark.usefixtures("_no_accounts")


def test_first_deployment(node: Node, provider: Provider, operations: RecordedOperations) -> None:
    job = provider.add_job("job", C1, {"node-b": [action("activate", to_node="node-b")]})
    provider.verify_when_activated(job)
    node.activate()
    assert node.told() == ["running/activate", "success/activate", "success/intent"]
    assert operations.calls == [("activate", "job", USER), ("thaw", "job", USER)]
    assert operations.entries == [ENTRY]
    assert operations.pruned == [{USER}]
    assert node.open_jobs() == ["job"]
    job.state = "succeeded"
    node.activate()
    assert node.open_jobs() == []
    assert operations.names() == ["activate", "thaw"]


@pytest.mark.parametrize(
    ("intent", "told"),
    [
        (MOVE_IN, ["running/restore", "failed/restore"]),
        (MOVE_OUT, ["running/backup", "failed/backup"]),
        (RELOAD, ["running/reload", "failed/reload"]),
        ([action("deactivate")], ["running/deactivate", "success/deactivate", "success/intent"]),
    ],
)
def test_nothing_begins_that_could_not_be_recorded_to_its_end(
    intent: list[dict[str, object]],
    told: list[str],
    node: Node,
    provider: Provider,
    operations: RecordedOperations,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider.add_job("job", C1, {"node-b": intent})
    monkeypatch.setattr(
        "hostenv_node.jobs.disk_space.os.statvfs",
        lambda _folder: SimpleNamespace(f_bavail=(64 << 8) - 1, f_frsize=4096),
    )
    node.activate()
    assert node.told() == told
    if "deactivate" not in told[0]:
        assert operations.names() in (["withdraw"], ["thaw"], ["revert"])
        assert "needs 64 MiB on this disk, 63 MiB are free" in provider.bodies[-1]["message"]


def test_what_an_operation_tells_is_seen_at_once_and_after_its_success(
    node: Node, provider: Provider, operations: RecordedOperations
) -> None:
    provider.add_job("job", C1, {"node-b": [{**action("backup", to_node="node-a"), "acceptLoss": True}]})
    operations.warning = "leaves\nbehind"
    seen: list[dict[str, object]] = []
    operations.during["backup"] = lambda: seen.append(provider.bodies[-1])
    node.activate()
    assert operations.accepted == [True]
    assert [(body["status"], body["message"]) for body in seen] == [("running", "leaves behind")]
    assert [(body["status"], body.get("message")) for body in provider.bodies] == [
        ("running", None),
        ("running", "leaves behind"),
        ("success", "leaves behind"),
        ("success", None),
    ]


def test_nothing_happens_on_a_node_without_a_generation(
    provider: Provider, operations: RecordedOperations, configure: Callable[..., Config]
) -> None:
    node = Node(configure("node-b", provider.url), provider, operations)
    node.activate()
    assert provider.requests == []


def test_target_of_a_move_waits_for_the_backup_and_restores_exactly_it(
    node: Node, provider: Provider, operations: RecordedOperations
) -> None:
    job = provider.add_job("job", C1, {"node-b": MOVE_IN, "node-a": MOVE_OUT})
    provider.verify_when_activated(job)

    def backed_up() -> None:
        job.row("node-a", "backup")["status"] = "success"
        job.snapshots = {"data": "0123abcd"}

    provider.on_wait = [lambda: None, backed_up]
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
    assert operations.snapshots == [{"data": "0123abcd"}]


def test_source_of_a_move_deactivates_only_after_the_providers_check(
    provider: Provider,
    operations: RecordedOperations,
    configure: Callable[..., Config],
    generation: Callable[..., Path],
) -> None:
    # The source's slice does not name the environment any more.
    node = Node(configure("node-a", provider.url), provider, operations)
    switch(node.config, generation(C1, node="node-a"))
    job = provider.add_job("job", C1, {"node-a": MOVE_OUT, "node-b": MOVE_IN})
    provider.on_wait = [
        lambda: job.row("node-b", "activate").update(status="success"),
        lambda: job.row("provider", "verify").update(status="success"),
    ]
    node.activate()
    assert node.told() == [
        "running/backup",
        "success/backup",
        "waiting/deactivate",
        "running/deactivate",
        "success/deactivate",
        "success/intent",
    ]
    assert operations.names() == ["backup", "freeze", "deactivate"]
    assert provider.bodies[1]["payload"] == {
        "user": USER,
        "sourceNode": "node-a",
        "snapshots": {"data": "abc123"},
    }


def test_source_is_frozen_before_the_provider_hears_that_it_waits(
    provider: Provider,
    operations: RecordedOperations,
    configure: Callable[..., Config],
    generation: Callable[..., Path],
) -> None:
    node = Node(configure("node-a", provider.url), provider, operations)
    switch(node.config, generation(C1, node="node-a"))
    provider.add_job("job", C1, {"node-a": MOVE_OUT[1:], "node-b": MOVE_IN[1:]})
    operations.failures["freeze"] = OperationFailed("disk full")
    node.activate()
    assert node.told() == ["failed/deactivate"]
    assert provider.bodies[0]["message"] == "freeze: disk full"
    assert operations.names() == ["freeze", "thaw"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OperationFailed("disk full"), "failed"),
        (OperationTimedOut("disk full"), "timed_out"),
        (OSError(28, "disk full"), "failed"),
        (KeyError("disk full"), "failed"),
    ],
)
def test_failing_action_fails_the_job_and_is_undone(
    node: Node, provider: Provider, operations: RecordedOperations, error: Exception, status: str
) -> None:
    provider.add_job("job", C1, {"node-b": [action("activate", to_node="node-b")]})
    operations.failures["activate"] = error
    node.activate()
    assert node.told() == ["running/activate", f"{status}/activate"]
    assert "disk full" in provider.bodies[-1]["message"]
    assert operations.names() == ["activate", "withdraw"]
    assert node.open_jobs() == []


def test_no_work_without_the_providers_leave(
    node: Node, provider: Provider, operations: RecordedOperations
) -> None:
    job = provider.add_job("job", C1, {"node-b": [action("activate", to_node="node-b")]})
    provider.on_event[("running", "activate")] = lambda: setattr(job, "state", "superseded")
    node.activate()
    assert operations.calls == []
    assert node.open_jobs() == []


def test_action_that_the_provider_holds_back_is_not_begun(
    node: Node, provider: Provider, operations: RecordedOperations
) -> None:
    job = provider.add_job("job", C1, {"node-b": [action("activate", to_node="node-b")]})
    provider.verify_when_activated(job)
    provider.refusals = {("running", "activate"): [409, 409]}
    with pytest.raises(Conflict) as refused:
        node.activate()
    assert refused.value.state == "waiting"
    assert operations.calls == []
    provider.refusals.clear()
    node.activate()
    assert operations.names() == ["activate", "thaw"]


def test_report_that_comes_too_late_brings_the_verdict(
    node: Node, provider: Provider, operations: RecordedOperations
) -> None:
    job = provider.add_job("job", C1, {"node-b": [action("activate", to_node="node-b")]})
    provider.on_event[("success", "activate")] = lambda: setattr(job, "state", "failed")
    node.activate()
    assert node.told() == ["running/activate"]
    assert operations.names() == ["activate", "withdraw"]
    assert node.open_jobs() == []


def test_reload_that_does_not_pass_the_check_is_switched_back(
    node: Node, provider: Provider, operations: RecordedOperations
) -> None:
    job = provider.add_job("job", C1, {"node-b": RELOAD})
    provider.on_wait = [lambda: setattr(job, "state", "failed")]
    node.activate()
    assert operations.names() == ["reload", "revert"]


def test_verified_reload_stays(node: Node, provider: Provider, operations: RecordedOperations) -> None:
    job = provider.add_job("job", C1, {"node-b": RELOAD})
    provider.verify_when_activated(job, op="reload")
    node.activate()
    assert operations.names() == ["reload", "keep"]
    assert node.told()[-1] == "success/intent"


def test_each_action_has_the_configured_time_whatever_it_waited_for(
    node: Node, provider: Provider, operations: RecordedOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("hostenv_node.deadline.time", SimpleNamespace(monotonic=lambda: now))
    node.config = replace(node.config, action_timeout=40)
    job = provider.add_job("job", C1, {"node-b": MOVE_IN, "node-a": MOVE_OUT})
    job.snapshots = {"data": "0123abcd"}

    def backed_up() -> None:
        nonlocal now
        now += 1000
        job.row("node-a", "backup")["status"] = "success"

    def almost_too_slow() -> None:
        nonlocal now
        now += 39

    provider.on_wait = [backed_up]
    operations.during = {"restore": almost_too_slow, "activate": almost_too_slow}
    provider.verify_when_activated(job)
    node.activate()
    assert operations.names() == ["restore", "activate", "thaw"]
    assert operations.limits == [40, 40, 40]


def test_two_jobs_that_one_generation_brings_are_started_in_commit_order_and_wait_for_nothing(
    node: Node, provider: Provider, operations: RecordedOperations, generation: Callable[..., Path]
) -> None:
    other = "shop-main-1234567"
    newer = provider.add_job("newer", C3, {"node-b": [action("activate", other, to_node="node-b")]})
    older = provider.add_job("older", C2, {"node-b": [action("activate", to_node="node-b")]})
    switch(node.config, generation(C3, environments={USER: ENTRY, other: {"uid": 1003}}))

    assert node.take_in() == ["older", "newer"]
    provider.verify_when_activated(newer, other)
    node.work("newer")
    assert operations.calls == [("activate", "newer", other), ("thaw", "newer", other)]
    node.work("older")
    assert operations.calls[2:] == [("activate", "older", USER)]
    older.state = newer.state = "failed"
    assert node.take_in() == ["older", "newer"]


def test_generation_that_comes_while_a_job_waits_is_taken_in_and_waits_for_the_job_alone(
    node: Node, provider: Provider, generation: Callable[..., Path]
) -> None:
    job = provider.add_job("job", C1, {"node-b": MOVE_IN, "node-a": MOVE_OUT})
    node.activate()
    following = provider.add_job("next", C2, {"node-b": RELOAD})
    switch(node.config, generation(C2, environments={USER: ENTRY}))
    assert node.take_in() == ["job", "next"]
    node.work("next")
    assert node.told() == ["waiting/restore", "waiting/intent"]
    assert provider.bodies[-1]["message"] == "waits for what job job left to do here"
    job.state = "failed"
    provider.on_wait = [lambda: node.work("job")]
    provider.verify_when_activated(following, op="reload")
    node.work("next")
    assert node.told()[2:] == ["waiting/intent", "running/reload", "success/reload", "success/intent"]
    assert provider.bodies[2]["message"] is None


def test_upkeep_leaves_the_environments_of_open_jobs_alone(
    node: Node, provider: Provider, operations: RecordedOperations
) -> None:
    job = provider.add_job("job", C1, {"node-b": RELOAD})
    node.activate()
    job.state = "failed"
    node.activate()
    node.activate()
    assert operations.pruned == [{USER}, {USER}, set()]


def test_open_jobs_go_on_whatever_becomes_of_what_is_new(
    node: Node, provider: Provider, generation: Callable[..., Path]
) -> None:
    provider.add_job("job", C1, {"node-b": MOVE_IN, "node-a": MOVE_OUT})
    node.activate()
    generation(C2)
    provider.failures = [503] * 7
    with pytest.raises(HostenvError, match="no usable answer"):
        node.take_in()
    assert node.started == ["job"]


def test_environment_that_the_slice_does_not_name_fails_the_action(node: Node, provider: Provider) -> None:
    provider.add_job("job", C1, {"node-b": [action("activate", "gone-main-7654321", to_node="node-b")]})
    node.activate()
    assert node.told() == ["running/activate", "failed/activate"]
    assert "gone-main-7654321" in provider.bodies[-1]["message"]


def test_intent_of_another_schema_fails_without_a_journal(node: Node, provider: Provider) -> None:
    provider.add_job("job", C1, {"node-b": [action("explode")]})
    node.activate()
    assert node.told() == ["failed/intent"]
    assert node.open_jobs() == []


def test_wrong_token_ends_the_run_with_one_line(node: Node, provider: Provider) -> None:
    provider.token = "another"
    with pytest.raises(HostenvError, match="403"):
        node.activate()


def test_one_activation_and_one_run_for_a_job_at_a_time(
    node: Node,
    provider: Provider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOSTENV_NODE_CONFIG", str(tmp_path / "node.json"))
    provider.add_job("job", C1, {"node-b": RELOAD})
    with locked(node.config.state_dir / "lock"):
        assert main(["activate"]) == 0
    assert "another activation is under way" in capsys.readouterr().out
    assert provider.requests == []
    assert main(["activate"]) == 0
    assert provider.requests == [f"GET /api/deploy-intents/pending?node=node-b&sha={C1}&open="]
    with locked(node.config.locks_dir / "job-job.lock"):
        assert main(["job", "job"]) == 0
    assert "job job is worked on already" in capsys.readouterr().out
    assert main(["job", "other"]) == 0
    assert "job other is not open here" in capsys.readouterr().out
    assert len(provider.requests) == 1
