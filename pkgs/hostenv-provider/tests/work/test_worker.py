"""The stages of contract 5: what they make, what a failure leaves, and `kill -9` at each of them."""

import fcntl
import logging
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hostenv_core.processes import CommandFailed
from hostenv_core.states import JobState, Status
from hostenv_provider.config import Config
from hostenv_provider.plan.definitions import VirtualHost
from hostenv_provider.plan.plan import Environment, State
from hostenv_provider.repository.remotes import FetchFailed
from hostenv_provider.repository.repository import PushRejected
from hostenv_provider.rules.jobs import Event, Request
from hostenv_provider.secrets.environment_secrets import EnvironmentSecrets
from hostenv_provider.work.worker import MAX_ATTEMPTS
from provider_support import PROJECT, Killed, Machine, definition, lock_file

# contract 5
STAGES = (
    "sync_repository",
    "update_flake",
    "generate_plan",
    "dns_gate",
    "load_plan",
    "resolve_nodes",
    "derive_intents",
    "write_deploy_intent",
    "finalize_repository",
)

MAIN, STAGING = "drupal-main-2855093", "drupal-staging-ffce32d"


@pytest.fixture
def machine(new_provider: Path, config: Config) -> Machine:
    return Machine.copy(new_provider, config)


def test_a_request_becomes_a_commit_with_intents(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    job = machine.run()
    assert machine.state(job) is JobState.WAITING
    assert machine.ops(job) == [("node-a", "activate", MAIN), ("provider", "verify", MAIN)]
    commit = machine.commit_of(job)
    assert machine.history()[0] == commit
    assert machine.store.unpushed() == []
    plan = machine.published("generated/plan.json")
    assert list(plan["environments"]) == [MAIN]
    (waiting,) = machine.store.waiting_intents("node-a")
    assert (waiting.job_id, waiting.provider_commit) == (job, commit)
    assert waiting.commit_sha == machine.history_of("node-a")[0]
    assert machine.projects.mirrored == {MAIN: "1" * 40}
    assert EnvironmentSecrets(machine.config).read(MAIN) is not None
    assert [line for line in caplog.messages if "stage" in line] == [
        f"job {job}: stage {stage}" for stage in STAGES
    ]


def test_intents_are_recorded_before_the_commit_can_be_seen(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    push = machine.repository.push

    def watched(sha: str) -> None:
        seen.append([each.provider_commit == sha for each in machine.store.waiting_intents("node-a")])
        push(sha)

    monkeypatch.setattr(machine.repository, "push", watched)
    machine.run()
    assert seen == [[True]]


def test_a_job_without_change_succeeds_and_pushes_nothing(machine: Machine) -> None:
    machine.finish(machine.run())
    before = machine.history()
    again = machine.run()
    assert machine.state(again) is JobState.SUCCEEDED
    assert machine.history() == before


def test_a_change_without_actions_is_pushed_and_done(machine: Machine) -> None:
    machine.finish(machine.run())
    machine.projects.locked = "second"
    job = machine.run()
    assert machine.state(job) is JobState.SUCCEEDED
    assert machine.history()[0] == machine.commit_of(job)
    assert machine.published("flake.lock") == lock_file("second")


def test_a_retry_without_change_is_an_empty_commit(machine: Machine) -> None:
    first = machine.run()
    machine.store.record_event(first, Event("node-a", Status.FAILED, "activate", "no space", None, 0))
    second = machine.run()
    assert machine.state(second) is JobState.WAITING
    assert machine.ops(second) == machine.ops(first)
    assert machine.history()[:2] == [machine.commit_of(second), machine.commit_of(first)]
    assert machine.git("diff", "--stat", "main~1", "main") == ""


def test_only_environments_of_the_pushed_branch_move(machine: Machine) -> None:
    machine.projects.definitions["staging"] = definition("staging")
    machine.finish(machine.run())
    machine.projects.heads = {"main": "2" * 40, "staging": "6" * 40}
    job = machine.run(Request(PROJECT, frozenset({"staging"})))
    assert [op for op in machine.ops(job) if op[1] == "reload"] == [("node-a", "reload", STAGING)]
    assert machine.projects.mirrored == {MAIN: "1" * 40, STAGING: "6" * 40}


def test_a_command_moves_an_environment_with_its_data_and_its_code(machine: Machine) -> None:
    machine.finish(machine.run())
    updates = machine.projects.updates
    machine.projects.heads["main"] = "2" * 40
    job = machine.run(Request(PROJECT, placements={MAIN: "node-b"}))
    assert [op[:2] for op in machine.ops(job)] == [
        ("node-a", "backup"),
        ("node-a", "deactivate"),
        ("node-b", "restore"),
        ("node-b", "activate"),
        ("provider", "verify"),
    ]
    assert machine.projects.updates == updates
    assert machine.projects.mirrored == {MAIN: "1" * 40}
    assert machine.published("provider.json")["environments"] == {MAIN: {"node": "node-b"}}
    machine.finish(job)
    assert machine.store.deployed(PROJECT)[MAIN].node == "node-b"
    assert machine.state(machine.run()) is JobState.WAITING


def test_moving_to_a_node_that_is_none_changes_nothing(machine: Machine) -> None:
    machine.finish(machine.run())
    before = machine.history()
    job = machine.run(Request(PROJECT, placements={MAIN: "node-z"}))
    assert machine.state(job) is JobState.FAILED
    assert "node-z" in machine.reason(job)
    assert machine.history() == before


def test_a_move_can_be_told_its_source_or_to_leave_data(machine: Machine) -> None:
    machine.finish(machine.run())
    sources = Request(PROJECT, placements={MAIN: "node-b"}, migration_sources={MAIN: "node-z"})
    assert "node-z" in machine.reason(machine.run(sources))
    job = machine.run(Request(PROJECT, placements={MAIN: "node-b"}, skip_migrations=frozenset({MAIN})))
    assert [op[:2] for op in machine.ops(job)] == [
        ("node-a", "deactivate"),
        ("node-b", "activate"),
        ("provider", "verify"),
    ]


def test_a_node_hears_that_losses_are_accepted(machine: Machine) -> None:
    machine.finish(machine.run())
    job = machine.run(Request(PROJECT, placements={MAIN: "node-b"}, accept_loss=frozenset({MAIN})))
    intent = machine.store.intent(job, "node-a")
    assert intent is not None
    assert [(action["op"], action.get("acceptLoss")) for action in intent["actions"]] == [  # type: ignore[attr-defined]
        ("backup", True),
        ("deactivate", None),
    ]


def test_a_rollback_returns_to_the_release_before(machine: Machine) -> None:
    machine.finish(machine.run())
    machine.projects.heads["main"] = "2" * 40
    machine.finish(machine.run())
    job = machine.run(Request(PROJECT, rollbacks={MAIN: "main"}))
    assert machine.ops(job)[0] == ("node-a", "reload", MAIN)
    assert machine.projects.mirrored == {MAIN: "1" * 40}
    machine.finish(job)
    forward = machine.run(Request(PROJECT, rollbacks={MAIN: "main"}))
    assert machine.projects.mirrored == {MAIN: "2" * 40}
    machine.finish(forward)
    machine.projects.heads["main"] = "3" * 40
    machine.finish(machine.run(Request(PROJECT, frozenset({"main"}))))
    assert machine.projects.mirrored == {MAIN: "3" * 40}


def test_a_rollback_without_a_release_before_fails(machine: Machine) -> None:
    machine.finish(machine.run())
    job = machine.run(Request(PROJECT, rollbacks={MAIN: "main"}))
    assert machine.state(job) is JobState.FAILED
    assert "no release to go back to" in machine.reason(job)


def test_a_failing_stage_fails_the_job_and_leaves_nothing(machine: Machine) -> None:
    before = machine.history()
    machine.projects.failure = "demo__drupal, flake.nix: attribute missing"
    job = machine.run()
    assert machine.reason(job) == "generate_plan: demo__drupal, flake.nix: attribute missing"
    assert machine.history() == before
    machine.projects.failure = None
    assert machine.state(machine.run()) is JobState.WAITING


def test_an_unexpected_error_is_a_verdict_too(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(machine.projects, "update_input", broken)
    job = machine.run()
    assert machine.state(job) is JobState.FAILED
    assert machine.reason(job).startswith("update_flake: internal error")


def test_a_node_that_still_holds_environments_may_not_leave(machine: Machine, tmp_path: Path) -> None:
    machine.finish(machine.run())
    machine.operator_pushes(
        tmp_path / "operator",
        {"nodes": {"node-b": {"address": "192.0.2.2"}}, "nodeFor": {"default": "node-b"}},
    )
    job = machine.run()
    assert machine.state(job) is JobState.FAILED
    assert "node node-a still holds environments" in machine.reason(job)


def test_an_operators_push_in_between_means_planning_again(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = machine.repository.push
    pushed: list[str] = []

    def raced(sha: str) -> None:
        if not pushed:
            pushed.append(machine.operator_pushes(tmp_path / "operator", {"nodeFor": {"default": "node-b"}}))
        push(sha)

    monkeypatch.setattr(machine.repository, "push", raced)
    job = machine.run()
    assert machine.history()[:2] == [machine.commit_of(job), pushed[0]]
    assert machine.ops(job)[0] == ("node-b", "activate", MAIN)
    assert machine.store.waiting_intents("node-a") == []


def test_a_push_that_went_through_counts_whatever_git_says(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = machine.repository.push

    def lost_answer(sha: str) -> None:
        push(sha)
        raise CommandFailed("git push: the remote end hung up")

    monkeypatch.setattr(machine.repository, "push", lost_answer)
    before = machine.history()
    job = machine.run()
    assert machine.state(job) is JobState.WAITING
    assert machine.history() == [machine.commit_of(job), *before]
    assert machine.store.unpushed() == []


def test_a_name_that_leads_nowhere_loses_its_certificate_in_the_plan(machine: Machine) -> None:
    hosts = {"www.example.org": VirtualHost(enable_acme=True, force_ssl=True)}
    machine.projects.definitions = {"main": replace(definition("main"), virtual_hosts=hosts)}
    machine.run()
    planned = machine.published("generated/plan.json")["environments"][MAIN]["virtualHosts"]
    assert planned["www.example.org"]["enableACME"] is False


def test_a_name_that_is_not_granted_is_left_out_and_the_job_says_so(machine: Machine, tmp_path: Path) -> None:
    machine.operator_pushes(tmp_path / "operator", {"projects": {PROJECT: {"hosts": ["*.example.org"]}}})
    hosts = dict.fromkeys(("www.example.org", "bank.example.net"), VirtualHost())
    machine.projects.definitions = {"main": replace(definition("main"), virtual_hosts=hosts)}
    job = machine.run()
    planned = machine.published("generated/plan.json")["environments"][MAIN]["virtualHosts"]
    assert set(planned) == {f"{MAIN}.demo.hostenv.test", "www.example.org"}
    (note,) = machine.store.notes(job)
    assert note.node == "provider"
    assert str(note.message).startswith(f"bank.example.net of {MAIN} is not served: it is not granted")
    machine.finish(job)


def test_names_that_dns_proves_are_served_and_looked_up_once(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def resolve(host: str) -> tuple[str, list[str], list[str]]:
        asked.append(host)
        own = f"{MAIN}.Demo.hostenv.test." if host == "www.example.org" else "elsewhere.example.org"
        return "node-a.example.org", [host, own], ["192.0.2.1"]

    monkeypatch.setattr("hostenv_provider.dns.socket.gethostbyname_ex", resolve)
    machine.operator_pushes(tmp_path / "operator", {"projects": {PROJECT: {"hosts": ["dns:*"]}}})
    hosts = dict.fromkeys(("www.example.org", "bank.example.net"), VirtualHost())
    machine.projects.definitions = {"main": replace(definition("main"), virtual_hosts=hosts)}
    for _ in range(2):
        job = machine.run()
        planned = machine.published("generated/plan.json")["environments"][MAIN]["virtualHosts"]
        assert set(planned) == {f"{MAIN}.demo.hostenv.test", "www.example.org"}
        (note,) = machine.store.notes(job)
        assert f"alias (CNAME) of {MAIN}.demo.hostenv.test" in str(note.message)
        machine.finish(job)
        machine.projects.heads["main"] = "2" * 40
    assert asked == ["bank.example.net", "www.example.org", "bank.example.net"]


def test_a_remote_that_takes_nothing_fails_the_job_in_the_end(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def reject(sha: str) -> None:
        attempts.append(sha)
        raise PushRejected("main has moved")

    monkeypatch.setattr(machine.repository, "push", reject)
    before = machine.history()
    job = machine.run()
    assert machine.state(job) is JobState.FAILED
    assert "main has moved" in machine.reason(job)
    assert len(attempts) == MAX_ATTEMPTS
    assert machine.history() == before


def test_two_projects_need_not_wait_for_each_other(machine: Machine) -> None:
    first = machine.run()
    machine.store.record_event(first, Event("node-a", Status.RUNNING, "activate", None, None, 0))
    held = machine.run()
    assert machine.state(held) is JobState.QUEUED
    machine.finish(first)
    machine.work()
    assert machine.state(held) is JobState.SUCCEEDED


# kill -9


def assert_every_pushed_commit_has_its_intents(machine: Machine, base: list[str]) -> None:
    with_intents = {each.provider_commit for each in machine.store.waiting_intents("node-a")}
    assert set(machine.history()) - set(base) <= with_intents


@pytest.mark.parametrize("stage", STAGES)
def test_a_service_killed_at_a_stage_does_the_job_after_its_restart(
    machine: Machine, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = machine.history()
    set_stage = machine.store.set_stage

    def killed(job_id: str, name: str) -> None:
        set_stage(job_id, name)
        if name == stage:
            raise Killed

    monkeypatch.setattr(machine.store, "set_stage", killed)
    job = machine.store.enqueue(Request(PROJECT, None)).job_id
    with pytest.raises(Killed):
        machine.worker.step()
    assert machine.history() == base
    again = machine.restart()
    again.work()
    assert again.state(job) is JobState.WAITING
    assert again.history()[0] == again.commit_of(job)
    assert_every_pushed_commit_has_its_intents(again, base)


@pytest.mark.parametrize("moment", ["before the record", "before the push", "after the push"])
def test_a_service_killed_around_the_push_has_neither_lost_nor_doubled_it(
    machine: Machine, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = machine.history()
    push = machine.repository.push

    def killed_start(*_: object) -> None:
        raise Killed

    def killed_push(sha: str) -> None:
        if moment == "after the push":
            push(sha)
        raise Killed

    if moment == "before the record":
        monkeypatch.setattr(machine.store, "start_waiting", killed_start)
    else:
        monkeypatch.setattr(machine.repository, "push", killed_push)
    job = machine.store.enqueue(Request(PROJECT, None)).job_id
    with pytest.raises(Killed):
        machine.worker.step()
    assert_every_pushed_commit_has_its_intents(machine, base)
    again = machine.restart()
    again.work()
    assert again.state(job) is JobState.WAITING
    assert again.store.unpushed() == []
    assert again.history() == [again.commit_of(job), *base]
    again.finish(job)


def test_an_unpushed_commit_is_pushed_before_a_newer_job_is_planned(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_: str) -> None:
        raise Killed

    monkeypatch.setattr(machine.repository, "push", killed)
    first = machine.store.enqueue(Request(PROJECT, None)).job_id
    with pytest.raises(Killed):
        machine.worker.step()
    again = machine.restart()
    commit = again.commit_of(first)
    second = again.run(Request(PROJECT, frozenset({"main"})))
    assert again.state(first) is JobState.SUPERSEDED
    assert again.history()[:2] == [again.commit_of(second), commit]


def test_a_lost_work_tree_is_made_anew(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: str) -> None:
        raise Killed

    monkeypatch.setattr(machine.repository, "push", killed)
    job = machine.store.enqueue(Request(PROJECT, None)).job_id
    with pytest.raises(Killed):
        machine.worker.step()
    shutil.rmtree(machine.config.repo_dir)
    machine.config.repo_dir.mkdir()
    again = machine.restart()
    again.work()
    assert again.state(job) is JobState.WAITING
    assert again.history()[0] == again.commit_of(job)


def test_the_plan_carries_other_projects_over(
    machine: Machine, environment: Callable[..., Environment]
) -> None:
    shop = environment(project="shop")
    with machine.repository.changing():
        plan = machine.repository.read_plan()
        machine.repository.write_generated(replace(plan, environments={shop.user_name: shop}), State({}))
        machine.repository.push(machine.repository.commit("Another project"))
    machine.run()
    environments = machine.published("generated/plan.json")["environments"]
    assert set(environments) == {MAIN, shop.user_name}
    assert environments[shop.user_name] == shop.to_json()


def test_a_database_that_fails_in_a_job_only_delays_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    job = machine.store.enqueue(Request(PROJECT, None)).job_id
    with monkeypatch.context() as broken:
        broken.setattr(machine.store, "start_waiting", full)
        with pytest.raises(sqlite3.OperationalError):
            machine.worker.step()
    assert machine.state(job) is JobState.RUNNING
    machine.work()
    assert machine.state(job) is JobState.WAITING
    assert machine.history()[0] == machine.commit_of(job)


def test_a_database_that_fails_after_the_push_changes_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    job = machine.store.enqueue(Request(PROJECT, None)).job_id
    with monkeypatch.context() as broken:
        broken.setattr(machine.store, "mark_pushed", full)
        with pytest.raises(sqlite3.OperationalError):
            machine.worker.step()
    commit = machine.commit_of(job)
    machine.work()
    assert (machine.state(job), machine.commit_of(job)) == (JobState.WAITING, commit)
    assert machine.store.unpushed() == []


def test_the_work_tree_is_locked_while_a_job_is_planned_or_pushed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    free: list[tuple[str, bool]] = []

    def watched(name: str, original: Callable[[str], object]) -> Callable[[str], object]:
        def call(argument: str) -> object:
            with machine.config.lock.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    free.append((name, False))
                else:
                    free.append((name, True))
            return original(argument)

        return call

    def full(_: str) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(machine.projects, "evaluate", watched("plan", machine.projects.evaluate))
    monkeypatch.setattr(machine.repository, "push", watched("push", machine.repository.push))
    with monkeypatch.context() as broken:
        broken.setattr(machine.store, "mark_pushed", full)
        machine.store.enqueue(Request(PROJECT, None))
        with pytest.raises(sqlite3.OperationalError):
            machine.worker.step()
    machine.work()
    assert free == [("plan", False), ("push", False), ("push", False)]


@pytest.mark.parametrize("hook", ["update_input", "evaluate", "mirror"])
def test_a_job_that_is_cancelled_while_it_is_planned_pushes_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    real, head = getattr(machine.projects, hook), machine.history()
    job = machine.store.enqueue(Request(PROJECT, None)).job_id

    def cancelled_meanwhile(*arguments: object) -> object:
        machine.store.cancel(job, "ann")
        return real(*arguments)

    monkeypatch.setattr(machine.projects, hook, cancelled_meanwhile)
    machine.work()
    assert (machine.state(job), machine.reason(job)) == (JobState.FAILED, "cancelled by ann")
    assert machine.history() == head
    monkeypatch.undo()
    machine.finish(machine.run())


def test_a_job_without_actions_that_was_cancelled_stays_so(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.finish(machine.run())
    succeed = machine.store.succeed

    def late(job_id: str, commit: str | None) -> None:
        machine.store.cancel(job_id, "ann")
        succeed(job_id, commit)

    monkeypatch.setattr(machine.store, "succeed", late)
    job = machine.run()
    assert (machine.state(job), machine.reason(job)) == (JobState.FAILED, "cancelled by ann")


def test_a_job_that_is_cancelled_while_its_fetch_fails_is_not_tried_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = machine.store.enqueue(Request(PROJECT, None)).job_id

    def fails(_key: str) -> None:
        machine.store.cancel(job, "ann")
        raise FetchFailed("the server is down")

    monkeypatch.setattr(machine.projects, "update_input", fails)
    machine.work()
    assert (machine.state(job), machine.reason(job)) == (JobState.FAILED, "cancelled by ann")
