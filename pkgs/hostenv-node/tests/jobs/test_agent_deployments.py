"""What the provider hears of deployments that comin reports as failed and of switches that were cut short."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hostenv_core.errors import HostenvError
from hostenv_node.comin import spool
from hostenv_node.comin.spool import Deployment
from hostenv_node.config import Config
from node_support import C1, C2, ENTRY, RELOAD, USER, Node, Provider, RecordedOperations, action, switch

pytestmark = pytest.mark.usefixtures("_no_accounts")


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
    assert operations.wanted == [True, False], "upkeep ends for it, and goes on after it"


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

    monkeypatch.setattr("hostenv_node.comin.switch.ensure_users", refuse)
    with pytest.raises(HostenvError, match="alice"):
        node.activate()
    assert [event for event in provider.events if event[0] == "newer"] == [("newer", "failed", "intent")]
    assert ("older", "success", "intent") in provider.events
    assert json.loads(node.config.generation_file.read_text())["commit"] == C1


def test_a_switch_that_only_the_providers_silence_failed_fails_no_job(
    node: Node, provider: Provider, operations: RecordedOperations, generation: Callable[..., Path]
) -> None:
    job = provider.add_job("job", C2, {"node-b": [action("activate", to_node="node-b")]})
    provider.verify_when_activated(job)
    generation(C2, environments={USER: {**ENTRY, "marker": "new"}})
    spool.add(node.config, Deployment(C2, "done", "exit status 1"))
    provider.failures = [503] * 7
    with pytest.raises(HostenvError, match=r"no usable answer .* nodes/node-b/slice"):
        node.activate()
    assert provider.events == []
    assert len(spool.entries(node.config)) == 1
    node.activate()
    assert operations.entries == [{**ENTRY, "marker": "new"}]
    assert node.told()[-1] == "success/intent"
    assert spool.entries(node.config) == []


def test_a_slice_that_the_provider_does_not_have_fails_the_job(
    node: Node, provider: Provider, generation: Callable[..., Path]
) -> None:
    provider.add_job("job", C2, {"node-b": RELOAD})
    toplevel = generation(C2)
    (toplevel / "slice.sha256").write_text("0" * 64)
    with pytest.raises(HostenvError, match="cannot switch"):
        node.activate()
    assert node.told() == ["failed/intent"]


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
