"""What a node does next: a function of its journals and of what the provider's rows show.

Nothing here looks at a clock, a disk or the network, so that any schedule of messages and crashes can be
driven through the very rules that run on nodes.

The shell around it performs a step and records it in the journal with the transition that `after` names; a
crash between the two repeats the step, which every step allows.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from hostenv_node.jobs.job_status import PROVIDER, VERDICTS, JobSnapshot
from hostenv_node.jobs.journal import ActionRecord, JobJournal, Progress


@dataclass(frozen=True)
class Start:
    """Post `running`; once that was answered 200, record the start, do the work, record its end."""

    index: int


@dataclass(frozen=True)
class Announce:
    """Post `waiting`: the action is blocked by another node's.

    What waits to be deactivated is frozen first: by this event the provider knows that it takes no writes.
    """

    index: int


@dataclass(frozen=True)
class Report:
    """Post how the action ended."""

    index: int


@dataclass(frozen=True)
class Thaw:
    """Let writes through: on the target after its commit point, on the source of a failed move."""

    user: str


@dataclass(frozen=True)
class Keep:
    """A reload is verified: drop what would have been reverted to."""

    user: str


@dataclass(frozen=True)
class Withdraw:
    """Undo what a failed move restored and activated here."""

    user: str


@dataclass(frozen=True)
class Revert:
    """Undo a reload that failed."""

    user: str


@dataclass(frozen=True)
class Finish:
    """Post `success/intent`: this node has done its part."""


@dataclass(frozen=True)
class Tell:
    """Post what cannot be done for the job and why, so that people see it; None takes it back."""

    trouble: str | None


@dataclass(frozen=True)
class Wait:
    """Nothing to do before the provider's rows change."""


@dataclass(frozen=True)
class Retry:
    """What is left to do has just failed; nothing to do before it is tried again."""


@dataclass(frozen=True)
class Close:
    """The job has its verdict and the node has acted on it: forget it."""


Cleanup = Thaw | Keep | Withdraw | Revert
FailedCleanup = tuple[str, str]
"""A job and an environment's user whose cleanup failed."""
Step = Start | Announce | Report | Cleanup | Finish | Tell | Wait | Retry | Close


@dataclass(frozen=True)
class NextStep:
    """A step and the job that it belongs to."""

    journal: JobJournal
    step: Step


def next_step(
    journals: Sequence[JobJournal], jobs: Mapping[str, JobSnapshot], failed: Container[FailedCleanup] = ()
) -> NextStep | None:
    """The one thing to do now, None when nothing is left to do or to wait for.

    `journals` in order; `jobs` by job id, without the jobs that the provider does not know; `failed` what
    could not be cleaned up and must be tried again later.

    Jobs are worked on in commit order, one at a time (contract 7): a job without a verdict that is not
    finished keeps every later one from beginning. A verdict on a later one is acted on all the same. A tenant
    decides what fails in its home and must not stop others by it, so two things hold up only the jobs of
    their environments: what follows a verdict or the commit point and fails, and what waits here for a source
    that has not begun.
    """
    held = False
    stuck: dict[str, str] = {}
    expected: set[str] = set()
    waiting: NextStep | None = None
    for journal in journals:
        job = jobs.get(journal.job_id)
        if job is None:
            # No answer is no verdict, and only a verdict thaws or withdraws (contract 8).
            continue
        users = {record.action.user for record in journal.actions}
        blocker = min((stuck[user] for user in users & stuck.keys()), default=None)
        step: Step
        if job.state in VERDICTS:
            step = step_of_job(journal, job, failed)
        elif held or users & expected:
            continue
        elif blocker is not None:
            step = _tell(journal, f"waits for what job {blocker} left to do here") or Retry()
        else:
            step = step_of_job(journal, job, failed)
        if isinstance(step, Retry):
            stuck.update(dict.fromkeys(users - stuck.keys(), blocker or journal.job_id))
        elif not isinstance(step, Wait):
            return NextStep(journal, step)
        elif not journal.finished:
            if _not_begun(journal, job):
                expected |= users
            else:
                held = True
            waiting = waiting or NextStep(journal, step)
    return waiting


def step_of_job(journal: JobJournal, job: JobSnapshot, failed: Container[FailedCleanup] = ()) -> Step:
    """The next step of one job, looked at alone; `failed` as for `next_step`."""
    if job.state in VERDICTS:
        return _tell(journal, journal.trouble) or _act_on_verdict(journal, job, failed)
    if job.state != "waiting":
        return Wait()
    telling = _tell(journal, journal.trouble)
    if telling is not None:
        return telling
    if journal.finished:
        return Wait()
    left = set()
    for index, record in enumerate(journal.actions):
        if record.action.user in left:
            continue
        step = _step_of_action(index, record, journal.node, job)
        if isinstance(step, Cleanup) and (journal.job_id, step.user) in failed:
            left.add(step.user)
        elif step is not None:
            return step
    return Retry() if left else Finish()


def _not_begun(journal: JobJournal, job: JobSnapshot) -> bool:
    """Whether a job waits here whose source has not begun it either."""
    action = journal.actions[0].action
    return not any(record.begun for record in journal.actions) and (
        action.op == "restore" and job.status(action.from_node, "backup", action.user) == "queued"
    )


def _tell(journal: JobJournal, trouble: str | None) -> Tell | None:
    return None if journal.shown == trouble else Tell(trouble)


def after(journal: JobJournal, step: Announce | Report | Cleanup | Finish | Tell) -> JobJournal:
    """The journal once the step was performed (`Start` has records of its own, `Close` has none)."""
    match step:
        case Announce(index):
            return journal.announced(index)
        case Report(index):
            return journal.reported(index)
        case Finish():
            return journal.done()
        case Tell(trouble):
            return journal.showing(trouble)
        case Thaw(user) | Keep(user) | Withdraw(user) | Revert(user):
            return journal.settled(user)


def blocked(record: ActionRecord, node: str, job: JobSnapshot) -> bool:
    """Whether the action must wait for another's row (contract 7).

    A.`backup` → B.`restore` → B.`activate` → `verify` → A.`deactivate`. What stands in this node's own list
    is ordered by the list. A job without the row has nothing to wait for.
    """
    action = record.action
    if action.op == "restore":
        return job.status(action.from_node, "backup", action.user) not in (None, "success")
    if action.op == "deactivate" and action.to_node not in (None, node):
        return job.status(PROVIDER, "verify", action.user) not in (None, "success")
    return False


def _step_of_action(index: int, record: ActionRecord, node: str, job: JobSnapshot) -> Step | None:
    """None when the list goes on with the next action."""
    match record.progress:
        case Progress.NEW:
            if not blocked(record, node, job):
                return Start(index)
            return Wait() if record.announced else Announce(index)
        case Progress.STARTED:
            # Only a crash leaves this behind; operations may be repeated (contract 8).
            return Start(index)
    if not record.reported:
        return Report(index)
    if record.progress is not Progress.SUCCESS:
        # The job has failed by this report; its rows will say so.
        return Wait()
    return _commit(record, job)


def _commit(record: ActionRecord, job: JobSnapshot) -> Step | None:
    """The target goes live only after the provider's own check (contract 7, commit point)."""
    action = record.action
    if action.op not in ("activate", "reload") or record.settled:
        return None
    if job.status(PROVIDER, "verify", action.user) not in (None, "success"):
        return Wait()
    return Thaw(action.user) if action.op == "activate" else Keep(action.user)


def _act_on_verdict(journal: JobJournal, job: JobSnapshot, failed: Container[FailedCleanup]) -> Step:
    """Before the commit point the source thaws and the target withdraws; after it nothing thaws A.

    Contract 7, the commit point.
    """
    rest: Step = Close()
    for record in journal.actions:
        if not record.begun or record.settled:
            continue
        step = _undoing(record, job)
        if step is None:
            continue
        if (journal.job_id, step.user) not in failed:
            return step
        rest = Retry()
    return rest


def _undoing(record: ActionRecord, job: JobSnapshot) -> Cleanup | None:
    user = record.action.user
    match record.action.op, job.verified(user):
        case "backup" | "deactivate", False if record.action.to_node is not None:
            return Thaw(user)
        case "restore" | "activate", False:
            return Withdraw(user)
        case "reload", False:
            return Revert(user)
        case "activate", True:
            return Thaw(user)
        case "reload", True:
            return Keep(user)
    return None
