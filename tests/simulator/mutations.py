"""Rules taken out, one at a time: each is what the code could say without its author noticing.

The simulator must find every one of them within a stated number of schedules.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from hostenv_core.intents import VERIFY
from hostenv_core.states import JobState
from hostenv_node.jobs import decide, job_run
from hostenv_node.jobs.api import Api, Conflict, Unreachable
from hostenv_node.jobs.job_status import JobSnapshot
from hostenv_node.jobs.journal import ActionRecord, JobJournal
from hostenv_provider.plan.plan import Environment
from hostenv_provider.rules import intents, jobs, queue
from hostenv_provider.rules.intents import Deployed
from hostenv_provider.store.store import Store
from hostenv_provider.work import worker

from simulator import machines
from simulator.operations import SimulatedOperations
from simulator.scheduler import Killed

Replacement = tuple[object, str, object]


@dataclass(frozen=True)
class Mutation:
    """Of `within` schedules from seed `first` on one must fail; `first` only spares those known to pass."""

    within: int
    replacements: Callable[[], Sequence[Replacement]]
    first: int = 0

    @property
    def seeds(self) -> range:
        return range(self.first, self.first + self.within)

    @property
    def name(self) -> str:
        return self.replacements.__name__.strip("_")

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While the rule is out."""
        with ExitStack() as stack:
            for module, name, replacement in self.replacements():
                stack.enter_context(patch.object(module, name, replacement))
            yield


def _unmet_except(*ops: str) -> Callable[[jobs.JobSnapshot, jobs.Row], str | None]:
    original = jobs.unmet

    def unmet(job: jobs.JobSnapshot, row: jobs.Row) -> str | None:
        return None if row.action.op in ops else original(job, row)

    return unmet


def _blocked_except(op: str) -> Callable[[ActionRecord, str, JobSnapshot], bool]:
    original = decide.blocked

    def blocked(record: ActionRecord, node: str, job: JobSnapshot) -> bool:
        return record.action.op != op and original(record, node, job)

    return blocked


def _nobody_waits_to_activate() -> Sequence[Replacement]:
    return [(decide, "blocked", _blocked_except("activate")), (jobs, "unmet", _unmet_except("activate"))]


def _the_source_is_deactivated_before_it_hands_over() -> Sequence[Replacement]:
    order = ("backup", "restore", "sync", "activate", "reload", "deactivate", "handover")
    return [(intents, "OPERATIONS", order)]


def _rounds_hold_their_slots() -> Sequence[Replacement]:
    def waits(journal: JobJournal, step: decide.Step) -> bool:  # noqa: ARG001
        return isinstance(step, decide.Wait)

    return [(job_run, "_waits_for_another_node", waits)]


def _sources_of_live_moves_are_not_thawed() -> Sequence[Replacement]:
    original = decide._undoing

    def undoing(record: ActionRecord, job: JobSnapshot) -> decide.Cleanup | None:
        user, source = record.action.user, record.action.from_node
        step = original(record, job)
        return None if isinstance(step, decide.Thaw) and job.status(source, "handover", user) else step

    return [(decide, "_undoing", undoing)]


def _hand_overs_do_not_freeze() -> Sequence[Replacement]:
    return [(SimulatedOperations, "_hold", lambda *_: None)]


def _live_backups_freeze() -> Sequence[Replacement]:
    original = SimulatedOperations.backup

    def backup(self: SimulatedOperations, context: Any, action: Any) -> Any:
        self._hold(context, self._copy(action.user))
        return original(self, context, action)

    return [(SimulatedOperations, "backup", backup)]


def _the_base_is_final() -> Sequence[Replacement]:
    return [(SimulatedOperations, "_take_rest", lambda *_: None)]


def _targets_do_not_wait_for_the_last_round() -> Sequence[Replacement]:
    return [(SimulatedOperations, "_has_sent_all", lambda *_: True)]


def _lost_contact_is_a_verdict() -> Sequence[Replacement]:
    original = job_run.JobRun._view

    def view(self: job_run.JobRun, journal: JobJournal) -> JobSnapshot | None:
        try:
            return original(self, journal)
        except Unreachable:
            return JobSnapshot(journal.job_id, "failed", ())

    return [(job_run.JobRun, "_view", view)]


def _nobody_waits_to_deactivate() -> Sequence[Replacement]:
    return [
        (decide, "blocked", _blocked_except("deactivate")),
        (jobs, "unmet", _unmet_except("deactivate")),
    ]


def _nobody_waits_to_restore() -> Sequence[Replacement]:
    return [(decide, "blocked", _blocked_except("restore")), (jobs, "unmet", _unmet_except("restore"))]


def _target_thaws_at_once() -> Sequence[Replacement]:
    def commit(record: ActionRecord, job: JobSnapshot) -> decide.Step | None:  # noqa: ARG001
        if record.action.op != "activate" or record.settled:
            return None
        return decide.Thaw(record.action.user)

    return [(decide, "_commit", commit)]


def _source_thaws_after_the_commit_point() -> Sequence[Replacement]:
    original = decide._act_on_verdict

    def act(journal: JobJournal, job: JobSnapshot, *rest: Any) -> decide.Step:
        if job.state == "failed":
            rows = tuple(replace(row, status="failed") if row.op == VERIFY else row for row in job.rows)
            job = replace(job, rows=rows)
        return original(journal, job, *rest)

    return [(decide, "_act_on_verdict", act)]


def _verdicts_are_only_noted() -> Sequence[Replacement]:
    return [(decide, "_act_on_verdict", lambda *_: decide.Close())]


def _journals_are_lost_in_a_crash() -> Sequence[Replacement]:
    original = machines.Machine.kill_jobs

    def kill(self: machines.Machine, *jobs: str) -> None:
        original(self, *jobs)
        for job in jobs:
            self.disk.journals.pop(job, None)

    return [(machines.Machine, "kill_jobs", kill)]


def _work_starts_whatever_the_answer() -> Sequence[Replacement]:
    original = job_run.JobRun._post

    def post(self: job_run.JobRun, journal: JobJournal, event: Any) -> bool:
        try:
            return original(self, journal, event) or event.status == "running"
        except (Conflict, Unreachable):
            if event.status == "running":
                return True
            raise

    return [(job_run.JobRun, "_post", post)]


def _sources_are_not_frozen_without_backup() -> Sequence[Replacement]:
    return [(jobs, "_unfrozen", lambda *_: [])]


def _half_done_removals_count_as_running() -> Sequence[Replacement]:
    return [(jobs, "_is_uncertain", lambda *_: False)]


def _begun_jobs_are_superseded() -> Sequence[Replacement]:
    return [(jobs.JobSnapshot, "untouched", property(lambda _: True))]


def _jobs_of_a_project_run_together() -> Sequence[Replacement]:
    def next_job(unfinished: Sequence[queue.Unfinished]) -> queue.Choice | None:
        for item in sorted(unfinished, key=lambda item: item.number):
            if item.state is JobState.QUEUED:
                return queue.Choice(item.job, item.request)
        return None

    return [(queue, "next_job", next_job)]


def _heirs_forget() -> Sequence[Replacement]:
    return [(queue, "merge", lambda _, newer: newer)]


def _checks_do_not_wait() -> Sequence[Replacement]:
    return [(jobs, "unmet", _unmet_except(VERIFY))]


def _stale_copies_are_forgotten() -> Sequence[Replacement]:
    original = intents.derive_actions

    def derive(deployed: Any, planned: Any, stale: Mapping[str, object], *rest: Any) -> Any:  # noqa: ARG001
        return original(deployed, planned, {}, *rest)

    return [(worker, "derive_actions", derive)]


def _previous_placement_from_the_plan() -> Sequence[Replacement]:
    original = intents.derive_actions

    def derive(deployed: Mapping[str, Deployed], planned: Mapping[str, Environment], *rest: Any) -> Any:
        before = {
            user: replace(each, node=planned[user].previous_node or each.node) if user in planned else each
            for user, each in deployed.items()
        }
        return original(before, planned, *rest)

    return [(worker, "derive_actions", derive)]


def _commits_are_pushed_before_their_intents_are_stored() -> Sequence[Replacement]:
    original = worker.Worker._prepare

    def prepare(self: worker.Worker, job: Any) -> Any:
        prepared = original(self, job)
        if prepared is not None:
            self._repository.push(prepared.commit_sha)
        return prepared

    return [(worker.Worker, "_prepare", prepare)]


def _what_cannot_be_settled_is_passed_over() -> Sequence[Replacement]:
    original = decide.step_of_job

    def step_of_job(journal: JobJournal, job: JobSnapshot, *rest: Any) -> decide.Step:
        step = original(journal, job, *rest)
        return decide.Close() if isinstance(step, decide.Retry) else step

    return [(decide, "step_of_job", step_of_job)]


def _jobs_of_an_environment_do_not_follow_each_other() -> Sequence[Replacement]:
    return [(job_run, "predecessors", lambda *_: [])]


def _every_job_waits_for_all_earlier_ones() -> Sequence[Replacement]:
    def predecessors(journal: JobJournal, journals: Sequence[JobJournal]) -> list[JobJournal]:
        return [each for each in journals if each.order < journal.order]

    return [(job_run, "predecessors", predecessors)]


def _the_activation_works_on_jobs_itself() -> Sequence[Replacement]:
    def work(self: machines.Machine, job_id: str, api: Api) -> None:
        job_run.JobRun(self.config, api, self.operations, job_id, self.faults.log).run()

    return [(machines.Machine, "_start_job", work)]


def _one_job_works_at_a_time() -> Sequence[Replacement]:
    original = machines.Machine.__init__

    def init(self: machines.Machine, *arguments: Any) -> None:
        original(self, *arguments)
        self.config = replace(self.config, parallel_jobs=1)

    return [(machines.Machine, "__init__", init)]


def _slots_stay_taken_when_their_holders_are_killed() -> Sequence[Replacement]:
    original = machines.Machine.slot

    @contextmanager
    def slot(self: machines.Machine, on_wait: Callable[[], None]) -> Iterator[None]:
        with original(self, on_wait):
            try:
                yield
            except Killed:
                self.slots += 1
                raise

    return [(machines.Machine, "slot", slot)]


def _jobs_are_started_once() -> Sequence[Replacement]:
    original = machines.Machine._start_job

    def start(self: machines.Machine, job_id: str, api: Api) -> None:
        started = vars(self).setdefault("started", set())
        if job_id not in started:
            started.add(job_id)
            original(self, job_id, api)

    return [(machines.Machine, "_start_job", start)]


def _running_jobs_are_not_recovered() -> Sequence[Replacement]:
    return [(Store, "recover", lambda _: None)]


def _jobs_never_expire() -> Sequence[Replacement]:
    return [(Store, "expire", lambda *_: [])]


def _slices_are_not_kept() -> Sequence[Replacement]:
    return [(Store, "keep_slice", lambda *_: None)]


def _nodes_see_what_jobs_bring_only() -> Sequence[Replacement]:
    return [(worker.Worker, "_bring", lambda _: False)]


MUTATIONS = (
    Mutation(400, _lost_contact_is_a_verdict),
    Mutation(100, _nobody_waits_to_deactivate),
    Mutation(200, _nobody_waits_to_restore),
    Mutation(200, _nobody_waits_to_activate),
    Mutation(200, _the_source_is_deactivated_before_it_hands_over),
    Mutation(300, _sources_of_live_moves_are_not_thawed, first=700),
    Mutation(200, _rounds_hold_their_slots),
    Mutation(200, _hand_overs_do_not_freeze),
    Mutation(200, _live_backups_freeze),
    Mutation(200, _the_base_is_final),
    Mutation(200, _targets_do_not_wait_for_the_last_round),
    Mutation(300, _target_thaws_at_once),
    Mutation(1500, _source_thaws_after_the_commit_point, first=600),
    Mutation(100, _verdicts_are_only_noted),
    Mutation(1500, _journals_are_lost_in_a_crash),
    Mutation(1000, _work_starts_whatever_the_answer, first=100),
    Mutation(500, _sources_are_not_frozen_without_backup),
    Mutation(300, _half_done_removals_count_as_running, first=400),
    Mutation(100, _begun_jobs_are_superseded),
    Mutation(1000, _jobs_of_a_project_run_together),
    Mutation(100, _heirs_forget),
    Mutation(300, _checks_do_not_wait),
    Mutation(1500, _stale_copies_are_forgotten, first=600),
    Mutation(200, _previous_placement_from_the_plan),
    Mutation(10, _commits_are_pushed_before_their_intents_are_stored),
    Mutation(10, _slices_are_not_kept),
    Mutation(100, _nodes_see_what_jobs_bring_only),
    Mutation(1000, _what_cannot_be_settled_is_passed_over),
    Mutation(500, _jobs_of_an_environment_do_not_follow_each_other),
    Mutation(50, _every_job_waits_for_all_earlier_ones),
    Mutation(50, _the_activation_works_on_jobs_itself),
    Mutation(600, _one_job_works_at_a_time),
    Mutation(100, _slots_stay_taken_when_their_holders_are_killed),
    Mutation(50, _jobs_are_started_once),
    Mutation(100, _running_jobs_are_not_recovered),
    Mutation(2000, _jobs_never_expire),
)
"""All of them."""
