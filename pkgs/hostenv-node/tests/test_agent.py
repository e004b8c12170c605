"""The activation against a provider on a real connection; the runtime's operations only note their calls."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hostenv_node import spool
from hostenv_node.agent import Agent
from hostenv_node.api import Api, Conflict, Unreachable
from hostenv_node.cli import main
from hostenv_node.config import Config
from hostenv_node.errors import HostenvError
from hostenv_node.journal import JournalStore
from hostenv_node.lock import locked
from hostenv_node.operations import OperationFailed, OperationTimedOut
from hostenv_node.spool import Deployment
from hostenv_node.switch import switch
from node_support import C1, C2, C3, USER, Provider, RecordedOperations, action

MOVE_IN = [action("restore", USER, "node-a", "node-b"), action("activate", USER, "node-a", "node-b")]
MOVE_OUT = [action("backup", USER, "node-a", "node-b"), action("deactivate", USER, "node-a", "node-b")]
RELOAD = [action("reload", USER, "node-b", "node-b")]
ENTRY = {"uid": 1002, "marker": "entry"}


class Power(BaseException):
    """The machine loses its power."""


@pytest.fixture(autouse=True)
def _no_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostenv_node.switch.ensure_users", lambda _config, _wanted: None)


class Node:
    def __init__(self, config: Config, provider: Provider, operations: RecordedOperations) -> None:
        self.config = config
        self.provider = provider
        self.operations = operations
        self.log: list[str] = []

    def activate(self) -> None:
        api = Api(self.config, sleep=lambda _seconds: None)
        Agent(self.config, api, self.operations, self.log.append).run()

    def open_jobs(self) -> list[str]:
        return [journal.job_id for journal in JournalStore(self.config.jobs_dir).load()]

    def told(self) -> list[str]:
        return [f"{status}/{phase}" for _, status, phase in self.provider.events]


@pytest.fixture
def node(
    provider: Provider,
    operations: RecordedOperations,
    configure: Callable[..., Config],
    generation: Callable[..., Path],
) -> Node:
    config = configure("node-b", provider.url)
    switch(config, generation(C1, environments={USER: ENTRY}))
    return Node(config, provider, operations)


def test_first_deployment(node: Node, provider: Provider, operations: RecordedOperations) -> None:
    job = provider.add_job("job", C1, {"node-b": [action("activate", to_node="node-b")]})
    provider.verify_when_activated(job)
    node.activate()
    assert node.told() == ["running/activate", "success/activate", "success/intent"]
    assert operations.calls == [("activate", "job", USER), ("thaw", "job", USER)]
    assert operations.entries == [ENTRY]
    assert operations.pruned == 1
    assert node.open_jobs() == ["job"]
    job.state = "succeeded"
    node.activate()
    assert node.open_jobs() == []
    assert operations.names() == ["activate", "thaw"]


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
    assert operations.names() == ["reload", "switch_back"]


def test_verified_reload_stays(node: Node, provider: Provider, operations: RecordedOperations) -> None:
    job = provider.add_job("job", C1, {"node-b": RELOAD})
    provider.verify_when_activated(job, op="reload")
    node.activate()
    assert operations.names() == ["reload", "keep"]
    assert node.told()[-1] == "success/intent"


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
    assert operations.names() == [*before, *["restore", "activate", "thaw"][len(before) - 1 :]]
    assert node.told()[-1] == "success/intent"


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


def test_each_action_has_the_configured_time_whatever_it_waited_for(
    node: Node, provider: Provider, operations: RecordedOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("hostenv_node.operations.time", SimpleNamespace(monotonic=lambda: now))
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


def test_two_jobs_that_one_generation_brings_run_in_commit_order(
    node: Node, provider: Provider, operations: RecordedOperations, generation: Callable[..., Path]
) -> None:
    other = "shop-main-1234567"
    newer = provider.add_job("newer", C3, {"node-b": [action("activate", other, to_node="node-b")]})
    older = provider.add_job("older", C2, {"node-b": [action("activate", to_node="node-b")]})
    switch(node.config, generation(C3, environments={USER: ENTRY, other: {"uid": 1003}}))

    def verified() -> None:
        older.row("provider", "verify").update(status="success")
        newer.row("provider", "verify", other).update(status="success")

    provider.on_wait = [verified]
    node.activate()
    assert [(name, job) for name, job, _ in operations.calls] == [
        ("activate", "older"),
        ("thaw", "older"),
        ("activate", "newer"),
        ("thaw", "newer"),
    ]


def test_generation_that_comes_while_a_job_waits_is_taken_in(
    node: Node, provider: Provider, generation: Callable[..., Path]
) -> None:
    job = provider.add_job("job", C1, {"node-b": MOVE_IN, "node-a": MOVE_OUT})

    def next_generation() -> None:
        provider.add_job("next", C2, {"node-b": RELOAD})
        switch(node.config, generation(C2, environments={USER: ENTRY}))

    provider.on_wait = [next_generation, lambda: setattr(job, "state", "failed")]
    provider.on_event[("success", "reload")] = lambda: setattr(provider.jobs["next"], "state", "failed")
    node.activate()
    assert node.told() == ["waiting/restore", "running/reload"]


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


@pytest.mark.parametrize(
    ("status", "error"), [("failed", "exit status 1"), ("done", "exit status 1"), ("failed", ""), ("", "")]
)
def test_deployment_that_failed_is_reported_and_nothing_is_touched(
    node: Node, provider: Provider, operations: RecordedOperations, status: str, error: str
) -> None:
    provider.add_job("job", C1, {"node-b": [action("activate", to_node="node-b")]})
    spool.add(node.config, Deployment(C1, status, error))
    node.activate()
    assert node.told() == ["failed/intent"]
    assert (error or C1) in provider.bodies[-1]["message"]
    assert operations.calls == []
    assert spool.entries(node.config) == []


def test_failed_deployment_of_a_job_that_has_its_verdict_is_done_with(node: Node, provider: Provider) -> None:
    job = provider.add_job("job", C1, {"node-b": [action("activate", to_node="node-b")]})
    provider.on_event[("failed", "intent")] = lambda: setattr(job, "state", "superseded")
    spool.add(node.config, Deployment(C1, "failed", "exit status 1"))
    node.activate()
    assert node.told() == []
    assert spool.entries(node.config) == []


def test_deployment_that_failed_leaves_older_jobs_alone(node: Node, provider: Provider) -> None:
    older = provider.add_job("older", C1, {"node-b": [action("activate", to_node="node-b")]})
    provider.verify_when_activated(older)
    provider.add_job("newer", C2, {"node-b": RELOAD})
    spool.add(node.config, Deployment(C2, "failed", "exit status 1"))
    node.activate()
    assert ("newer", "failed", "intent") in provider.events
    assert ("older", "success", "intent") in provider.events


def test_failed_deployment_stays_in_the_spool_until_the_provider_knows(
    node: Node, provider: Provider
) -> None:
    provider.add_job("job", C1, {"node-b": RELOAD})
    spool.add(node.config, Deployment(C1, "failed", "exit status 1"))
    provider.failures = [503] * 7
    with pytest.raises(HostenvError, match="no usable answer"):
        node.activate()
    assert len(spool.entries(node.config)) == 1
    node.activate()
    assert node.told() == ["failed/intent"]


def test_spool_is_looked_at_once_more_before_the_end(
    node: Node, provider: Provider, operations: RecordedOperations
) -> None:
    job = provider.add_job("job", C1, {"node-b": [action("activate", to_node="node-b")]})
    provider.verify_when_activated(job)

    def hook_runs() -> None:
        provider.add_job("late", C2, {"node-b": RELOAD})
        spool.add(node.config, Deployment(C2, "failed", "exit status 1"))

    operations.during["prune"] = hook_runs
    node.activate()
    assert ("late", "failed", "intent") in provider.events


def test_switch_that_was_cut_short_is_completed(
    node: Node, provider: Provider, operations: RecordedOperations, generation: Callable[..., Path]
) -> None:
    job = provider.add_job("job", C2, {"node-b": [action("activate", to_node="node-b")]})
    provider.verify_when_activated(job)
    generation(C2, environments={USER: ENTRY})
    node.activate()
    assert json.loads(node.config.generation_file.read_text())["commit"] == C2
    assert operations.names() == ["activate", "thaw"]


def test_switch_that_cannot_be_completed_fails_its_jobs_only(
    node: Node, provider: Provider, generation: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    older = provider.add_job("older", C1, {"node-b": [action("activate", to_node="node-b")]})
    provider.verify_when_activated(older)
    provider.add_job("newer", C2, {"node-b": RELOAD})
    generation(C2, environments={USER: ENTRY})

    def refuse(_config: Config, _wanted: object) -> None:
        raise HostenvError("uid 1002 belongs to user alice")

    monkeypatch.setattr("hostenv_node.switch.ensure_users", refuse)
    with pytest.raises(HostenvError, match="alice"):
        node.activate()
    assert [event for event in provider.events if event[0] == "newer"] == [("newer", "failed", "intent")]
    assert ("older", "success", "intent") in provider.events
    assert json.loads(node.config.generation_file.read_text())["commit"] == C1


def comin_that_failed(folder: Path, stage: str, commit: str) -> str:
    """A comin whose selected commit it could not evaluate or build."""
    status = {"builder": {"generation": {"selected_commit_id": commit, "eval_err": "", "build_err": ""}}}
    status["builder"]["generation"][f"{stage}_err"] = "attribute missing"
    comin = folder / "comin"
    comin.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(status)}\nEND\n")
    comin.chmod(0o755)
    return str(comin)


@pytest.mark.parametrize("stage", ["eval", "build"])
def test_commit_that_comin_cannot_evaluate_or_build_is_reported(
    provider: Provider,
    operations: RecordedOperations,
    configure: Callable[..., Config],
    generation: Callable[..., Path],
    tmp_path: Path,
    stage: str,
) -> None:
    comin = comin_that_failed(tmp_path, stage, C2)
    node = Node(configure("node-b", provider.url, {"comin": comin}), provider, operations)
    switch(node.config, generation(C1))
    provider.add_job("job", C2, {"node-b": RELOAD})
    node.activate()
    assert provider.events == [("job", "failed", "intent")]
    assert "attribute missing" in provider.bodies[0]["message"]


def test_what_comin_says_of_a_commit_that_is_deployed_fails_no_job(
    provider: Provider,
    operations: RecordedOperations,
    configure: Callable[..., Config],
    generation: Callable[..., Path],
    tmp_path: Path,
) -> None:
    comin = comin_that_failed(tmp_path, "eval", C1)
    node = Node(configure("node-b", provider.url, {"comin": comin}), provider, operations)
    switch(node.config, generation(C1))
    provider.add_job("job", C1, {"node-b": [action("deactivate", from_node="node-b")]}, verify=False)
    node.activate()
    assert node.told() == ["running/deactivate", "success/deactivate", "success/intent"]
    assert provider.jobs["job"].state == "waiting"


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


def test_job_that_the_provider_does_not_know_is_named_once_in_a_run(
    node: Node, provider: Provider, operations: RecordedOperations, generation: Callable[..., Path]
) -> None:
    provider.add_job("lost", C1, {"node-b": [action("activate", to_node="node-b")]})
    operations.failures["activate"] = Power()
    with pytest.raises(Power):
        node.activate()
    del provider.jobs["lost"]
    provider.add_job("other", C2, {"node-b": MOVE_IN, "node-a": MOVE_OUT})
    switch(node.config, generation(C2, environments={USER: ENTRY}))
    provider.on_wait = [lambda: None, lambda: setattr(provider.jobs["other"], "state", "failed")]
    node.activate()
    assert len([line for line in node.log if "does not know it" in line]) == 1


def test_wrong_token_ends_the_run_with_one_line(node: Node, provider: Provider) -> None:
    provider.token = "another"
    with pytest.raises(HostenvError, match="403"):
        node.activate()


def test_one_activation_runs_at_a_time(
    node: Node,
    provider: Provider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOSTENV_NODE_CONFIG", str(tmp_path / "node.json"))
    with locked(node.config.lock_file):
        assert main(["activate"]) == 0
    assert "another activation is under way" in capsys.readouterr().out
    assert provider.requests == []
    assert main(["activate"]) == 0
    assert provider.requests == [f"GET /api/deploy-intents/pending?node=node-b&sha={C1}"]
