"""What a node does next for one job: a function of its journals and of what the provider's rows show.

Each job has a process of its own, and they work side by side (contract 7). What they have in common is the
order of the jobs that name one environment.

Nothing here looks at a clock, a disk or the network, so that any schedule of messages and crashes can be
driven through the very rules that run on nodes.

The shell around it performs a step and records it in the journal with the transition that `after` names; a
crash between the two repeats the step, which every step allows.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass

from hostenv_core.intents import VERIFY, prerequisites
from hostenv_core.names import PROVIDER_NODE
from hostenv_core.states import ENDED

from hostenv_node.jobs.job_status import JobSnapshot
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


def predecessors(journal: JobJournal, journals: Sequence[JobJournal]) -> list[JobJournal]:
    """The earlier jobs, of all that are open here, that name one of its environments.

    Only these must be done with before it begins. A project has one job under way at the provider, and the
    next one begins after its verdict; so what an earlier job of the project can still have to do is for its
    own environments.
    """
    users = set(journal.users)
    return [each for each in journals if each.order < journal.order and not users.isdisjoint(each.users)]


def next_step(
    journal: JobJournal,
    job: JobSnapshot,
    before: Sequence[JobJournal] = (),
    failed: Container[FailedCleanup] = (),
) -> Step:
    """The one thing to do now for a job.

    `before` are those of its `predecessors` that the provider knows; no answer is no verdict, so one that
    it does not know is never done with, and holds up nobody. `failed` is what could not be cleaned up and
    must be tried again later.

    Jobs that name one environment are worked on in commit order (contract 7), and a job is not begun before
    the earlier ones are closed here. Its verdict is acted on all the same.
    """
    if job.state != "waiting" or not before:
        return step_of_job(journal, job, failed)
    first = before[0]
    telling = _tell(journal, f"waits for what job {first.job_id} left to do here")
    if telling is not None:
        return telling
    # What failed is tried again when the timer says so, and so is what waits for it.
    return Wait() if first.trouble is None else Retry()


def step_of_job(journal: JobJournal, job: JobSnapshot, failed: Container[FailedCleanup] = ()) -> Step:
    """The same for a job that waits for no other."""
    if job.state in ENDED:
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

    What stands in this node's own list is ordered by the list.
    """
    action = record.action
    return any(
        job.status(other, op, action.user) not in (None, "success")
        for other, op in prerequisites(action, node)
        if other != node
    )


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
    if job.status(PROVIDER_NODE, VERIFY, action.user) not in (None, "success"):
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
        case "backup" | "handover" | "deactivate", False if record.action.to_node is not None:
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
