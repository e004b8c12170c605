"""Contract 5 and 7: what events do to a job, which job runs next, what it inherits."""

from dataclasses import replace

import pytest
from hostenv_core.intents import Action
from hostenv_core.names import PROVIDER_NODE
from hostenv_core.states import JobState, Status
from hostenv_provider.rules.endings import cancel, expire
from hostenv_provider.rules.jobs import (
    Accepted,
    Conflict,
    Deploy,
    Event,
    JobSnapshot,
    Malformed,
    Repeated,
    Request,
    Retire,
    Row,
    Uncertain,
    fail,
    on_event,
    on_verification,
    verifiable,
)
from hostenv_provider.rules.queue import Unfinished, coalesce, merge, next_job

USER = "drupal-main-2855093"
KEYS = ("drupal-migrate",)
SNAPSHOTS: dict[str, object] = {"user": USER, "sourceNode": "a", "snapshots": {"drupal-migrate": "9f0c9f0c"}}


def move(**status: Status) -> JobSnapshot:
    """A move from a to b with data, whose rows have the given status by op."""
    rows = (
        Row("a", 0, Action("backup", USER, "a", "b", KEYS)),
        Row("a", 1, Action("deactivate", USER, "a", "b")),
        Row("b", 0, Action("restore", USER, "a", "b", KEYS)),
        Row("b", 1, Action("activate", USER, "a", "b")),
        Row(PROVIDER_NODE, 0, Action("verify", USER, "a", "b")),
    )
    return JobSnapshot(
        JobState.WAITING,
        tuple(replace(row, status=status.get(row.action.op, Status.QUEUED)) for row in rows),
        frozenset({"a", "b"}),
    )


DONE = dict.fromkeys(("backup", "restore", "activate", "verify", "deactivate"), Status.SUCCESS)


def up_to(op: str) -> JobSnapshot:
    """The move with every action before `op` done and `op` running."""
    order = ["backup", "restore", "activate", "verify", "deactivate"]
    done = dict.fromkeys(order[: order.index(op)], Status.SUCCESS)
    return move(**done, **{op: Status.RUNNING})


def event(node: str, op: str, status: Status, **values: object) -> Event:
    return Event(node, status, op, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "posted", "after"),
    [
        (Status.QUEUED, Status.RUNNING, Status.RUNNING),
        (Status.QUEUED, Status.WAITING, Status.WAITING),
        (Status.WAITING, Status.RUNNING, Status.RUNNING),
        (Status.RUNNING, Status.WAITING, Status.WAITING),
    ],
)
def test_an_unfinished_row_follows_its_events(before: Status, posted: Status, after: Status) -> None:
    outcome = on_event(move(backup=before), event("a", "backup", posted))
    assert isinstance(outcome, Accepted)
    assert [(row.key, row.status) for row in outcome.rows] == [(("a", 0), after)]
    assert outcome.state is JobState.WAITING


@pytest.mark.parametrize("status", [Status.RUNNING, Status.QUEUED])
def test_a_row_never_goes_back_once_it_ended(status: Status) -> None:
    assert on_event(up_to("restore"), event("a", "backup", status)) == Repeated()


def test_what_a_node_tells_of_its_work_is_shown_once() -> None:
    job = move(backup=Status.RUNNING)
    telling = event("a", "backup", Status.RUNNING, message="rounds FLOAT columns")
    outcome = on_event(job, telling)
    assert isinstance(outcome, Accepted)
    (row,) = outcome.rows
    assert (row.status, row.message) == (Status.RUNNING, "rounds FLOAT columns")
    after = replace(job, rows=tuple(row if each.key == row.key else each for each in job.rows))
    assert on_event(after, telling) == Repeated()
    assert on_event(after, event("a", "backup", Status.RUNNING)) == Repeated()


@pytest.mark.parametrize("before", [Status.RUNNING, Status.WAITING])
def test_what_has_begun_is_not_queued_again(before: Status) -> None:
    assert on_event(move(backup=before), event("a", "backup", Status.QUEUED)) == Repeated()


def test_a_repeated_final_event_is_acknowledged_even_after_the_jobs_end() -> None:
    for state in JobState:
        recorded = frozenset({("a", 0, Status.SUCCESS)})
        job = replace(up_to("restore"), state=state, final_events=recorded)
        assert on_event(job, event("a", "backup", Status.SUCCESS, payload=SNAPSHOTS)) == Repeated()


def test_a_final_event_that_was_never_recorded_learns_the_jobs_end() -> None:
    failed = fail(up_to("restore"), "disk full")
    job = replace(up_to("restore"), state=failed.state)
    for row in failed.rows:
        job = replace(job, rows=tuple(row if row.key == each.key else each for each in job.rows))

    assert on_event(job, event("b", "restore", Status.FAILED)) == Conflict(
        JobState.FAILED, "the job is failed"
    )


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.WAITING])
def test_a_new_event_outside_of_waiting_is_told_the_state(state: JobState) -> None:
    job = replace(up_to("restore"), state=state)
    outcome = on_event(job, event("b", "restore", Status.SUCCESS))
    assert isinstance(outcome, Conflict)
    assert outcome.state is state
    assert isinstance(on_event(job, event("b", "intent", Status.SUCCESS)), Conflict)


@pytest.mark.parametrize(
    ("job", "node", "op"),
    [
        (move(backup=Status.RUNNING), "b", "restore"),
        (move(backup=Status.SUCCESS), "b", "activate"),
        (move(backup=Status.SUCCESS, restore=Status.SUCCESS, activate=Status.SUCCESS), "a", "deactivate"),
    ],
)
@pytest.mark.parametrize("status", [Status.RUNNING, Status.SUCCESS])
def test_no_action_begins_before_what_it_needs(job: JobSnapshot, node: str, op: str, status: Status) -> None:
    assert isinstance(on_event(job, event(node, op, status)), Conflict)
    assert isinstance(on_event(job, event(node, op, Status.WAITING)), Accepted)


def test_the_service_checks_only_what_is_activated() -> None:
    assert verifiable(up_to("activate")) == ()
    assert [row.action.user for row in verifiable(up_to("verify"))] == [USER]
    assert verifiable(replace(up_to("verify"), state=JobState.FAILED)) == ()
    assert verifiable(up_to("deactivate")) == ()
    for status, due in ((Status.RUNNING, 0), (Status.SUCCESS, 1)):
        rows = (
            Row("a", 0, Action("reload", USER, "a", "a"), status),
            Row(PROVIDER_NODE, 0, Action("verify", USER, "a", "a")),
        )
        assert len(verifiable(JobSnapshot(JobState.WAITING, rows, frozenset({"a"})))) == due


def test_without_a_backup_the_check_waits_until_the_source_is_frozen() -> None:
    def moved(source: str | None, status: Status) -> JobSnapshot:
        rows = (
            Row("a", 0, Action("deactivate", USER, source, "b"), status),
            Row("b", 0, Action("activate", USER, "a", "b"), Status.SUCCESS),
            Row(PROVIDER_NODE, 0, Action("verify", USER, "a", "b")),
        )
        return JobSnapshot(JobState.WAITING, rows, frozenset({"a", "b"}))

    assert verifiable(moved("a", Status.QUEUED)) == ()
    assert len(verifiable(moved("a", Status.WAITING))) == 1
    # A stale copy takes no writes; its node may be gone for good.
    assert len(verifiable(moved(None, Status.QUEUED))) == 1


def test_the_commit_point_is_the_success_of_the_check_and_nothing_else() -> None:
    activated = on_event(up_to("activate"), event("b", "activate", Status.SUCCESS))
    assert isinstance(activated, Accepted)
    assert activated.placements == ()
    verified = on_verification(up_to("verify"), USER, Status.SUCCESS, None)
    assert isinstance(verified, Accepted)
    assert verified.placements == (Deploy(USER, "b", frozenset({"a"})),)
    assert verified.state is JobState.WAITING


def test_a_check_that_ends_after_its_job_is_discarded() -> None:
    job = replace(up_to("verify"), state=JobState.FAILED)
    assert isinstance(on_verification(job, USER, Status.SUCCESS, None), Conflict)


def test_a_failed_check_fails_the_job_and_leaves_the_placement() -> None:
    outcome = on_verification(up_to("verify"), USER, Status.FAILED, "status 502")
    assert isinstance(outcome, Accepted)
    assert (outcome.state, outcome.placements) == (JobState.FAILED, (Uncertain(USER, "b"),))
    assert outcome.reason == f"provider: verify of {USER} failed: status 502"


@pytest.mark.parametrize(
    ("to_node", "for_good"),
    [("b", False), (None, True)],
)
def test_deactivation_ends_staleness_and_a_placement_only_without_another(
    to_node: str | None, for_good: bool
) -> None:
    job = JobSnapshot(
        JobState.WAITING, (Row("a", 0, Action("deactivate", USER, "a", to_node)),), frozenset({"a"})
    )
    outcome = on_event(job, event("a", "deactivate", Status.SUCCESS))
    assert isinstance(outcome, Accepted)
    assert outcome.placements == (Retire(USER, "a", for_good),)


@pytest.mark.parametrize("status", [Status.FAILED, Status.TIMED_OUT])
def test_a_removal_that_began_and_failed_leaves_the_placement_in_doubt(status: Status) -> None:
    row = Row("a", 0, Action("deactivate", USER, "a", None), Status.RUNNING)
    job = JobSnapshot(JobState.WAITING, (row,), frozenset({"a"}))
    outcome = on_event(job, event("a", "deactivate", status))
    assert isinstance(outcome, Accepted)
    assert outcome.placements == (Uncertain(USER, "a"),)
    assert expire(job, 60).placements == (Uncertain(USER, "a"),)
    queued = replace(job, rows=(replace(row, status=Status.QUEUED),))
    assert expire(queued, 60).placements == ()


def test_only_an_unverified_replacement_is_uncertain() -> None:
    assert expire(up_to("verify"), 60).placements == (Uncertain(USER, "b"),)
    assert expire(up_to("deactivate"), 60).placements == ()
    assert expire(up_to("backup"), 60).placements == ()


@pytest.mark.parametrize("status", [Status.FAILED, Status.TIMED_OUT])
def test_the_first_failure_ends_the_job_and_all_that_is_pending(status: Status) -> None:
    outcome = on_event(up_to("restore"), event("b", "restore", status, message="disk full"))
    assert isinstance(outcome, Accepted)
    assert outcome.state is JobState.FAILED
    verb = "failed" if status is Status.FAILED else "timed out"
    assert outcome.reason == f"b: restore of {USER} {verb}: disk full"
    ended = {row.key: (row.status, row.message) for row in outcome.rows}
    assert ended[("b", 0)] == (status, "disk full")
    assert set(ended) == {("b", 0), ("b", 1), ("a", 1), (PROVIDER_NODE, 0)}
    assert all(state is Status.FAILED for key, (state, _) in ended.items() if key != ("b", 0))


def test_a_job_succeeds_when_all_rows_did_and_every_node_closed_its_intent() -> None:
    one_missing = replace(move(**DONE), final_events=frozenset({("a", None, Status.SUCCESS)}))
    outcome = on_event(one_missing, event("b", "intent", Status.SUCCESS))
    assert isinstance(outcome, Accepted)
    assert (outcome.state, outcome.rows) == (JobState.SUCCEEDED, ())
    both_but_a_row = replace(
        up_to("deactivate"),
        final_events=frozenset({("a", None, Status.SUCCESS), ("b", None, Status.SUCCESS)}),
    )
    last = on_event(both_but_a_row, event("a", "deactivate", Status.SUCCESS))
    assert isinstance(last, Accepted)
    assert last.state is JobState.SUCCEEDED


def test_a_job_waits_for_every_row_and_for_every_nodes_word() -> None:
    a_row_is_open = replace(up_to("deactivate"), final_events=frozenset({("b", None, Status.SUCCESS)}))
    closed = on_event(a_row_is_open, event("a", "intent", Status.SUCCESS))
    assert closed == Accepted(JobState.WAITING)
    a_node_is_not_done = replace(up_to("deactivate"), final_events=frozenset({("a", None, Status.SUCCESS)}))
    last_row = on_event(a_node_is_not_done, event("a", "deactivate", Status.SUCCESS))
    assert isinstance(last_row, Accepted)
    assert last_row.state is JobState.WAITING


def test_closing_an_intent_changes_no_row() -> None:
    outcome = on_event(move(), event("b", "intent", Status.SUCCESS))
    assert outcome == Accepted(JobState.WAITING)


def test_a_failed_intent_fails_the_job_with_the_nodes_words() -> None:
    outcome = on_event(move(), event("a", "intent", Status.FAILED, message="error: attribute missing"))
    assert isinstance(outcome, Accepted)
    assert (outcome.state, outcome.reason) == (JobState.FAILED, "a: failed: error: attribute missing")


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        {"user": "other", "snapshots": {"drupal-migrate": "9f0c9f0c"}},
        {"user": USER, "snapshots": {}},
        {"user": USER, "snapshots": {"drupal-migrate": "latest"}},
        {"user": USER, "snapshots": {"drupal-migrate": 7}},
        {"user": USER, "snapshots": "9f0c9f0c"},
    ],
)
def test_a_backup_without_its_snapshots_is_no_success(payload: dict[str, object] | None) -> None:
    outcome = on_event(up_to("backup"), event("a", "backup", Status.SUCCESS, payload=payload))
    assert isinstance(outcome, Malformed)


def test_an_event_must_mean_exactly_one_action() -> None:
    other = "drupal-stage-1234567"
    rows = (
        Row("a", 0, Action("activate", USER, None, "a")),
        Row("a", 1, Action("activate", other, None, "a")),
    )
    job = JobSnapshot(JobState.WAITING, rows, frozenset({"a"}))
    assert isinstance(on_event(job, event("a", "activate", Status.SUCCESS)), Malformed)
    second = on_event(job, event("a", "activate", Status.SUCCESS, action_index=1))
    assert isinstance(second, Accepted)
    assert [row.action.user for row in second.rows] == [other]
    assert isinstance(on_event(job, event("a", "backup", Status.SUCCESS)), Malformed)
    assert isinstance(on_event(job, event("a", "activate", Status.SUCCESS, action_index=7)), Malformed)


def test_an_expired_job_names_what_is_unfinished_and_times_it_out() -> None:
    outcome = expire(up_to("restore"), 7200)
    assert outcome.state is JobState.FAILED
    assert outcome.reason is not None
    assert "120 min" in outcome.reason
    assert f"restore of {USER} on b" in outcome.reason
    assert {row.status for row in outcome.rows} == {Status.TIMED_OUT}
    silent = replace(move(**DONE), final_events=frozenset({("a", None, Status.SUCCESS)}))
    assert "closing report of b" in str(expire(silent, 60).reason)


# Requests and the choice of the next job


def test_a_request_survives_json() -> None:
    request = Request(
        "demo__drupal",
        frozenset({"main"}),
        {"u": "b"},
        {"u": "a"},
        frozenset({"v"}),
        frozenset({"x"}),
        {"w": "main"},
    )
    for each in (request, replace(request, refs=None), Request("demo__drupal")):
        assert Request.from_json(each.to_json()) == each


def test_a_request_that_was_kept_before_losses_could_be_accepted_accepts_none() -> None:
    document = Request("p", accept_loss=frozenset({"u"})).to_json()
    del document["acceptLoss"]
    assert Request.from_json(document) == Request("p")


def test_merged_requests_lose_neither_pushes_nor_placements() -> None:
    older = Request("p", frozenset({"main"}), placements={"u": "b"}, migration_sources={"u": "c"})
    older = replace(older, accept_loss=frozenset({"u"}))
    newer = Request("p", frozenset({"staging"}), skip_migrations=frozenset({"v"}))
    merged = merge(older, newer)
    assert merged.accept_loss == {"u"}
    assert merged.refs == frozenset({"main", "staging"})
    assert (merged.placements, merged.migration_sources) == ({"u": "b"}, {"u": "c"})
    assert merged.skip_migrations == {"v"}
    assert merge(older, Request("p", None)).refs is None
    assert merge(Request("p", None), newer).refs is None


def test_a_newer_placement_brings_its_own_migration_options() -> None:
    older = Request(
        "p",
        placements={"u": "b"},
        migration_sources={"u": "c"},
        skip_migrations=frozenset({"u"}),
        accept_loss=frozenset({"u"}),
    )
    merged = merge(older, Request("p", placements={"u": "d"}))
    assert merged == Request("p", placements={"u": "d"})


def test_of_a_push_and_a_rollback_the_newer_one_wins() -> None:
    push, rollback = Request("p", frozenset({"main"})), Request("p", rollbacks={"u": "main"})
    assert merge(rollback, push).rollbacks == {}
    assert merge(push, rollback).rollbacks == {"u": "main"}
    assert merge(rollback, Request("p", frozenset({"staging"}))).rollbacks == {"u": "main"}


def unfinished(number: int, state: JobState, project: str = "p", **values: object) -> Unfinished:
    return Unfinished(f"job{number}", number, Request(project, frozenset({f"r{number}"})), state, **values)  # type: ignore[arg-type]


def test_a_newer_queued_job_supersedes_all_older_queued_ones_of_its_project() -> None:
    jobs = [
        unfinished(1, JobState.RUNNING),
        unfinished(2, JobState.QUEUED),
        unfinished(3, JobState.QUEUED, "q"),
        unfinished(4, JobState.QUEUED),
        unfinished(5, JobState.QUEUED),
    ]
    choice = coalesce(jobs, "job5")
    assert choice.superseded == ("job2", "job4")
    assert choice.request.refs == frozenset({"r2", "r4", "r5"})


def test_one_job_of_a_project_leaves_the_queue_at_a_time() -> None:
    queued = unfinished(2, JobState.QUEUED)
    assert next_job([unfinished(1, JobState.RUNNING), queued]) is None
    assert next_job([unfinished(1, JobState.WAITING), queued]) is None
    other = next_job([unfinished(1, JobState.WAITING), queued, unfinished(3, JobState.QUEUED, "q")])
    assert other is not None
    assert other.job == "job3"


def test_a_waiting_job_that_no_node_began_is_superseded_and_inherited() -> None:
    choice = next_job([unfinished(1, JobState.WAITING, untouched=True), unfinished(2, JobState.QUEUED)])
    assert choice is not None
    assert (choice.job, choice.superseded) == ("job2", ("job1",))
    assert choice.request.refs == frozenset({"r1", "r2"})


def test_a_job_is_untouched_only_while_all_rows_are_queued() -> None:
    assert move().untouched
    assert not move(backup=Status.RUNNING).untouched
    assert not move(restore=Status.WAITING).untouched
    assert not replace(move(), final_events=frozenset({("a", None, Status.FAILED)})).untouched


@pytest.mark.parametrize("op", ["backup", "restore", "activate", "verify"])
def test_a_job_is_cancelled_before_its_commit_point(op: str) -> None:
    outcome = cancel(up_to(op), "ann")
    assert isinstance(outcome, Accepted)
    assert (outcome.state, outcome.reason) == (JobState.FAILED, "cancelled by ann")
    assert (PROVIDER_NODE, 0) in [row.key for row in outcome.rows if row.status is Status.FAILED]
    assert outcome.placements == fail(up_to(op), "cancelled by ann").placements


def test_a_job_is_not_cancelled_after_its_commit_point() -> None:
    outcome = cancel(up_to("deactivate"), "ann")
    assert isinstance(outcome, Conflict)
    assert outcome.error.startswith(f"too late: {USER} is deployed on b")


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.SUPERSEDED])
def test_what_has_ended_is_not_cancelled(state: JobState) -> None:
    outcome = cancel(replace(move(), state=state), "ann")
    assert outcome == Conflict(state, f"the job has ended already: it is {state}")


def test_only_steps_forward_are_progress() -> None:
    job, progress = move(), []
    for status in ("waiting", "running", "waiting", "running", "waiting", "running", "success"):
        outcome = on_event(job, event("a", "backup", Status(status), payload=SNAPSHOTS))
        assert isinstance(outcome, Accepted)
        (changed,) = outcome.rows
        assert changed.status == status
        progress.append(outcome.progress)
        job = replace(job, rows=(changed, *job.rows[1:]))
    assert progress == [True, True, False, False, False, False, True]
