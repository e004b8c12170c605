"""The rules of contract 7 and 8, one by one."""

import pytest
from hostenv_core.intents import Action
from hostenv_node.jobs.decide import (
    Announce,
    Close,
    Finish,
    Keep,
    Report,
    Retry,
    Revert,
    Start,
    Step,
    Tell,
    Thaw,
    Wait,
    Withdraw,
    after,
    next_step,
    predecessors,
    step_of_job,
)
from hostenv_node.jobs.job_status import JobSnapshot, Row
from hostenv_node.jobs.journal import JobJournal, Progress

U, V, W = "site-main-1111111", "site-stage-2222222", "shop-main-3333333"


def journal(*actions: Action, node: str = "node-b", job: str = "job", order: int = 1) -> JobJournal:
    return JobJournal.opened(job, "1" * 40, node, order, actions)


def snapshot(*rows: tuple[str, str, str, str], state: str = "waiting", job: str = "job") -> JobSnapshot:
    return JobSnapshot(job, state, tuple(Row(*row) for row in rows))


def move(op: str, user: str = U) -> Action:
    return Action(op, user, "node-a", "node-b", ("data",))


def reload(user: str = U) -> Action:
    return Action("reload", user, "node-b", "node-b", ())


def succeeded(journal: JobJournal, *indices: int) -> JobJournal:
    for index in indices:
        journal = journal.started(index).ended(index, Progress.SUCCESS).reported(index)
    return journal


SOURCE = journal(move("backup"), move("deactivate"), node="node-a")
TARGET = journal(move("restore"), move("activate"))


def rows(backup: str = "queued", verify: str = "queued") -> tuple[tuple[str, str, str, str], ...]:
    return ("node-a", "backup", U, backup), ("provider", "verify", U, verify)


def test_first_action_starts_and_is_reported_before_the_next() -> None:
    assert step_of_job(SOURCE, snapshot(*rows())) == Start(0)
    done = SOURCE.started(0).ended(0, Progress.SUCCESS)
    assert step_of_job(done, snapshot(*rows("running"))) == Report(0)


@pytest.mark.parametrize("status", ["queued", "waiting", "running", "failed", "timed_out"])
def test_restore_waits_for_its_sources_backup(status: str) -> None:
    assert step_of_job(TARGET, snapshot(*rows(status))) == Announce(0)
    assert step_of_job(TARGET.announced(0), snapshot(*rows(status))) == Wait()


def test_restore_starts_after_the_backup_of_its_own_user_on_its_own_source() -> None:
    assert step_of_job(TARGET.announced(0), snapshot(*rows("success"))) == Start(0)
    others = (("node-c", "backup", U, "success"), ("node-a", "backup", V, "success"))
    assert step_of_job(TARGET, snapshot(*rows(), *others)) == Announce(0)


@pytest.mark.parametrize("status", ["queued", "running"])
def test_deactivate_of_a_move_waits_for_the_providers_check(status: str) -> None:
    moved = succeeded(SOURCE, 0)
    activated = ("node-b", "activate", U, "success")
    assert step_of_job(moved, snapshot(*rows("success", status), activated)) == Announce(1)
    assert step_of_job(moved, snapshot(*rows("success", "success"), activated)) == Start(1)


def test_deactivate_without_a_target_waits_for_nobody() -> None:
    removed = journal(Action("deactivate", U, "node-b", None, ()))
    assert step_of_job(removed, snapshot()) == Start(0)


def test_deactivate_of_a_stale_copy_goes_on_when_the_job_checks_nothing() -> None:
    stale = journal(Action("deactivate", U, "node-b", "node-c", ()))
    assert step_of_job(stale, snapshot(("node-b", "deactivate", U, "queued"))) == Start(0)


@pytest.mark.parametrize(("last", "expected"), [(move("activate"), Thaw(U)), (reload(), Keep(U))])
def test_target_goes_live_only_after_the_commit_point(last: Action, expected: Step) -> None:
    activated = succeeded(journal(last), 0)
    assert step_of_job(activated, snapshot(*rows("success", "running"))) == Wait()
    verified = snapshot(*rows("success", "success"))
    assert step_of_job(activated, verified) == expected
    assert step_of_job(activated.settled(U), verified) == Finish()


def test_next_user_waits_until_the_first_is_live() -> None:
    two = succeeded(journal(move("activate"), move("activate", V)), 0)
    assert (
        step_of_job(two, snapshot(("provider", "verify", U, "queued"), ("provider", "verify", V, "queued")))
        == Wait()
    )
    assert step_of_job(two.settled(U), snapshot(("provider", "verify", V, "queued"))) == Start(1)


def test_finished_node_waits_for_the_verdict_and_closes_on_it() -> None:
    done = succeeded(TARGET, 0, 1).settled(U)
    assert step_of_job(done, snapshot(*rows("success", "success"))) == Finish()
    assert step_of_job(done.done(), snapshot(*rows("success", "success"))) == Wait()
    assert step_of_job(done.done(), snapshot(*rows("success", "success"), state="succeeded")) == Close()


def test_intent_without_actions_only_finishes() -> None:
    assert step_of_job(journal(), snapshot()) == Finish()


@pytest.mark.parametrize("progress", [Progress.FAILED, Progress.TIMED_OUT])
def test_nothing_follows_a_failed_action(progress: Progress) -> None:
    failed = TARGET.started(0).ended(0, progress, "disk full")
    assert step_of_job(failed, snapshot(*rows("success"))) == Report(0)
    assert step_of_job(failed.reported(0), snapshot(*rows("success"))) == Wait()


def test_crash_in_an_action_starts_it_again() -> None:
    assert step_of_job(SOURCE.started(0), snapshot(*rows("running"))) == Start(0)


def test_crash_before_the_report_only_reports() -> None:
    assert step_of_job(SOURCE.started(0).ended(0, Progress.SUCCESS), snapshot(*rows("running"))) == Report(0)


@pytest.mark.parametrize("state", ["queued", "running"])
def test_job_that_is_not_waiting_is_left_alone(state: str) -> None:
    assert step_of_job(SOURCE, snapshot(*rows(), state=state)) == Wait()


FAILED = [
    pytest.param(SOURCE, "queued", Thaw(U), id="not begun, but perhaps frozen: the source thaws"),
    pytest.param(TARGET, "queued", Close(), id="nothing begun"),
    pytest.param(
        journal(Action("deactivate", U, "node-a", None, ()), node="node-a").started(0),
        "queued",
        Close(),
        id="a removal is not undone",
    ),
    pytest.param(SOURCE.started(0), "failed", Thaw(U), id="backup cut short: the source thaws"),
    pytest.param(succeeded(SOURCE, 0), "failed", Thaw(U), id="backup done: the source thaws"),
    pytest.param(
        succeeded(SOURCE, 0), "success", Close(), id="after the commit point nothing thaws the source"
    ),
    pytest.param(
        succeeded(SOURCE, 0).started(1).ended(1, Progress.FAILED).reported(1),
        "success",
        Close(),
        id="failed deactivate leaves the placement",
    ),
    pytest.param(succeeded(SOURCE, 0), "running", Thaw(U), id="verify not ended: the source thaws"),
    pytest.param(
        succeeded(TARGET, 0, 1), "running", Withdraw(U), id="verify not ended: the target withdraws"
    ),
    pytest.param(TARGET.started(0), "failed", Withdraw(U), id="restore cut short: the target withdraws"),
    pytest.param(
        succeeded(TARGET, 0, 1), "failed", Withdraw(U), id="activated, not verified: the target withdraws"
    ),
    pytest.param(
        succeeded(TARGET, 0, 1), "success", Thaw(U), id="verified: the target thaws, whatever the verdict"
    ),
    pytest.param(journal(reload()).started(0), "failed", Revert(U), id="reload is reverted"),
    pytest.param(succeeded(journal(reload()), 0), "success", Keep(U), id="verified reload stays"),
]


@pytest.mark.parametrize("state", ["failed", "superseded"])
@pytest.mark.parametrize(("begun", "verify", "expected"), FAILED)
def test_verdict(begun: JobJournal, verify: str, expected: Step, state: str) -> None:
    assert step_of_job(begun, snapshot(*rows("success", verify), state=state)) == expected


def test_verdict_is_acted_on_per_environment_and_once() -> None:
    both = succeeded(journal(move("backup"), move("deactivate"), move("backup", V), node="node-a"), 0, 1, 2)
    verify = ("provider", "verify", U, "success"), ("provider", "verify", V, "failed")
    failed = snapshot(*verify, state="failed")
    assert step_of_job(both, failed) == Thaw(V)
    assert step_of_job(after(both, Thaw(V)), failed) == Close()


def test_what_is_settled_for_one_environment_is_not_for_another() -> None:
    actions = move("backup"), move("deactivate"), move("backup", V), move("deactivate", V)
    left = succeeded(journal(*actions, node="node-a"), 0, 2)
    verify = ("provider", "verify", U, "failed"), ("provider", "verify", V, "failed")
    steps = []
    for _ in range(3):
        step = step_of_job(left, snapshot(*verify, state="failed"))
        steps.append(step)
        if isinstance(step, Thaw):
            left = after(left, step)
    assert steps == [Thaw(U), Thaw(V), Close()]


def test_success_is_a_verdict_too() -> None:
    assert step_of_job(succeeded(TARGET, 0, 1), snapshot(state="succeeded")) == Thaw(U)


def test_only_earlier_jobs_of_its_environments_come_before_a_job() -> None:
    same = journal(move("activate", V), reload(W), job="same", order=2)
    other = journal(reload(U), job="other", order=3)
    later = journal(reload(V), job="later", order=4)
    journals = [TARGET, same, other, later]
    assert [predecessors(each, journals) for each in journals] == [[], [], [TARGET], [same]]


def test_a_job_begins_when_the_earlier_one_of_its_environment_is_closed() -> None:
    second = journal(reload(), job="second", order=2)
    tell = Tell("waits for what job job left to do here")
    assert next_step(second, snapshot(), [TARGET]) == tell
    waiting = after(second, tell)
    assert next_step(waiting, snapshot(), [TARGET]) == Wait()
    assert next_step(waiting, snapshot(), [TARGET.started(0).troubled(U, "masked")]) == Retry()
    assert next_step(waiting, snapshot()) == Tell(None)
    assert next_step(after(waiting, Tell(None)), snapshot()) == Start(0)


@pytest.mark.parametrize("state", ["failed", "superseded", "succeeded"])
def test_a_verdict_does_not_wait_for_an_earlier_job(state: str) -> None:
    second = journal(reload(), job="second", order=2)
    assert next_step(second, snapshot(state=state), [TARGET]) == Close()
    assert next_step(second.started(0), snapshot(state="failed"), [TARGET]) == Revert(U)


def test_a_job_that_is_not_handed_out_says_nothing_of_an_earlier_one() -> None:
    assert next_step(journal(reload(), order=2), snapshot(state="running"), [TARGET]) == Wait()


def test_what_could_not_be_undone_keeps_no_sibling_from_being_undone() -> None:
    both = succeeded(journal(move("backup"), move("backup", V), node="node-a"), 0, 1)
    failed = snapshot(state="failed")
    assert step_of_job(both, failed, {("job", U)}) == Thaw(V)
    assert step_of_job(both.settled(V), failed, {("job", U)}) == Retry()
    assert step_of_job(both.settled(V), failed, {("other", U)}) == Thaw(U)


def test_what_cannot_be_done_for_one_environment_keeps_no_sibling_from_its_actions() -> None:
    two = succeeded(journal(reload(), reload(V)), 0)
    verified = snapshot(("provider", "verify", U, "success"), ("provider", "verify", V, "success"))
    assert step_of_job(two, verified) == Keep(U)
    assert step_of_job(two, verified, {("job", U)}) == Start(1)
    done = succeeded(two, 1).settled(V)
    assert step_of_job(done, verified, {("job", U)}) == Retry(), "it is not finished before it is kept"


@pytest.mark.parametrize("state", ["waiting", "failed", "succeeded"])
def test_what_cannot_be_done_is_told_once_and_taken_back_when_it_is_done(state: str) -> None:
    live = succeeded(journal(move("activate")), 0)
    verified = snapshot(*rows("success", "success"), state=state)
    troubled = live.troubled(U, "could not thaw: masked")
    assert step_of_job(troubled, verified, {("job", U)}) == Tell("could not thaw: masked")
    told = after(troubled, Tell("could not thaw: masked"))
    assert step_of_job(told, verified, {("job", U)}) == Retry()
    assert step_of_job(told, verified) == Thaw(U)
    done = after(told, Thaw(U))
    assert step_of_job(done, verified) == Tell(None)
    assert step_of_job(after(done, Tell(None)), verified) == (Finish() if state == "waiting" else Close())
