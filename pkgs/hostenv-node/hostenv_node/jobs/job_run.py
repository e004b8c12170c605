"""`hostenv-node job JOB`: carries out this node's part of one job (contract 8).

The rules are in `decide`; this is the shell that shows them disk and network and performs their steps. Every
step is recorded durably before the next, so that a run cut short at any moment is taken up by the next one.

Runs for different jobs go on side by side. Each writes its own journal alone, and the records of its own
environments.
"""

import traceback
from collections.abc import Callable
from contextlib import ExitStack

from hostenv_core.errors import HostenvError
from hostenv_core.intents import Action
from hostenv_core.lines import tail
from hostenv_core.processes import CommandTimedOut
from hostenv_core.states import ENDED

from hostenv_node import locks
from hostenv_node.comin.generation import Slice
from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.errors import OperationTimedOut
from hostenv_node.jobs.api import INTENT, Api, Conflict, Event, NotFound, Unreachable
from hostenv_node.jobs.decide import (
    Announce,
    Cleanup,
    Close,
    FailedCleanup,
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
)
from hostenv_node.jobs.disk_space import demand_room
from hostenv_node.jobs.job_status import JobSnapshot
from hostenv_node.jobs.journal import JobJournal, Progress
from hostenv_node.jobs.journal_store import JournalStore
from hostenv_node.jobs.operations import Context, Operations

# The provider wakes a long poll at a change of the job; of other jobs a wait hears at its end.
_WAIT_SECONDS = 5
_MESSAGE_CHARACTERS = 8000


class JobRun:
    """One run for one job; `log` gets one line for everything that it does."""

    def __init__(
        self, config: Config, api: Api, operations: Operations, job_id: str, log: Callable[[str], None]
    ) -> None:
        self._config = config
        self._api = api
        self._operations = operations
        self._id = job_id
        self._log = log
        self._journals = JournalStore(config.jobs_dir)
        self._failed: set[FailedCleanup] = set()
        self._unknown: set[str] = set()
        self._slot = ExitStack()
        self._has_slot = False

    def run(self) -> None:
        """Work on the job until it is closed here, or nothing is left to do before it is tried again.

        Raises HostenvError when the provider cannot be reached or refuses this node, or when a step after a
        verdict failed; what is left is taken up by the next run.
        """
        with self._slot:
            while (found := self._look()) is not None:
                journal, step = found
                if isinstance(step, Retry):
                    break
                if _waits_for_another_node(journal, step):
                    self._slot.close()
                    self._has_slot = False
                elif _works(journal, step) and not self._has_slot and self._waited_for_slot(journal):
                    # What is to be done may have changed meanwhile.
                    continue
                self._perform(journal, step)
        if self._failed:
            left = ", ".join(sorted(user for _, user in self._failed))
            raise HostenvError(f"job {self._id}: the next run tries again: {left}")

    def _look(self) -> tuple[JobJournal, Step] | None:
        """The job as it is, and what to do for it; None when there is nothing to do."""
        journals = self._journals.load()
        journal = next((each for each in journals if each.job_id == self._id), None)
        job = None if journal is None else self._view(journal)
        if journal is None or job is None:
            return None
        before = [each for each in predecessors(journal, journals) if self._view(each) is not None]
        return journal, next_step(journal, job, before, self._failed)

    def _view(self, journal: JobJournal) -> JobSnapshot | None:
        try:
            return self._api.job(journal.job_id)
        except NotFound:
            if journal.job_id not in self._unknown:
                self._unknown.add(journal.job_id)
                file = self._config.jobs_dir / f"{journal.job_id}.json"
                self._log(
                    f"job {journal.job_id}: the provider does not know it, so it has no verdict; when its "
                    f"environments are as they should be, remove {file}"
                )
            return None

    def _waited_for_slot(self, journal: JobJournal) -> bool:
        """Take a slot; whether others had all of them."""
        waited = False

        def on_wait() -> None:
            nonlocal waited
            waited = True
            others = f"{self._config.parallel_jobs} other jobs (parallelJobs)"
            self._tell(journal, Tell(f"waits until one of {others} has done its step here"))

        self._slot.enter_context(locks.slot(self._config, on_wait))
        self._has_slot = True
        return waited

    def _perform(self, journal: JobJournal, step: Step) -> None:
        match step:
            case Wait():
                self._api.job(journal.job_id, _WAIT_SECONDS)
                # What it waits for may take long; what failed is tried again meanwhile.
                self._failed.clear()
            case Close():
                self._log(f"job {journal.job_id}: closed")
                self._journals.close(journal)
            case Start(index):
                self._start(journal, index)
            case Announce():
                self._announce(journal, step)
            case Report(index):
                record = journal.actions[index]
                event = Event(
                    record.progress.value,
                    record.action.op,
                    record.message,
                    record.payload,
                    action_index=index,
                )
                if self._post(journal, event):
                    self._journals.save(after(journal, step))
            case Tell():
                self._tell(journal, step)
            case Finish():
                if self._post(journal, Event("success", INTENT, self._left_behind(journal))):
                    self._journals.save(after(journal, step))
            case Thaw() | Keep() | Withdraw() | Revert():
                self._clean_up(journal, step)

    def _tell(self, journal: JobJournal, step: Tell) -> None:
        # Where the provider does not take it, nothing is shown; the work goes on all the same.
        self._post(journal, Event("waiting", INTENT, step.trouble))
        self._journals.save(after(journal, step))

    def _post(self, journal: JobJournal, event: Event) -> bool:
        """Whether the provider took the event; if not, the job has a verdict, which the next look shows."""
        try:
            self._api.post(journal.job_id, event)
        except Conflict as conflict:
            if conflict.state not in ENDED:
                raise
            self._log(
                f"job {journal.job_id}: {event.status}/{event.phase} came late, the job is {conflict.state}"
            )
            return False
        about = "" if event.action_index is None else f" of {journal.actions[event.action_index].action.user}"
        reason = f": {event.message}" if event.message else ""
        self._log(f"job {journal.job_id}: {event.status} {event.phase}{about}{reason}")
        return True

    def _announce(self, journal: JobJournal, step: Announce) -> None:
        action = journal.actions[step.index].action
        if action.op == "deactivate":
            context = Context(journal.job_id, Deadline.after(self._config.action_timeout))
            try:
                self._operations.freeze(context, action.user)
            except Exception as error:
                progress, message = self._failure(error)
                self._journals.save(journal.ended(step.index, progress, f"freeze: {message}"))
                return
        if self._post(journal, Event("waiting", action.op, action_index=step.index)):
            self._journals.save(after(journal, step))

    def _start(self, journal: JobJournal, index: int) -> None:
        action = journal.actions[index].action
        if not self._post(journal, Event("running", action.op, action_index=index)):
            return
        journal = journal.started(index)
        self._journals.save(journal)

        def tell(message: str) -> None:
            nonlocal journal
            journal = journal.told(index, tail(message, _MESSAGE_CHARACTERS))
            self._journals.save(journal)
            told = journal.actions[index].message
            self._post(journal, Event("running", action.op, told, action_index=index))

        context = Context(journal.job_id, Deadline.after(self._config.action_timeout), tell)
        try:
            payload = self._execute(context, action)
        except Unreachable:
            # No fault of the action: it stays begun, and the next run does it again.
            raise
        except Exception as error:
            journal = journal.ended(index, *self._failure(error))
        else:
            journal = journal.ended(index, Progress.SUCCESS, journal.actions[index].message, payload)
        self._journals.save(journal)

    def _failure(self, error: Exception) -> tuple[Progress, str]:
        """How an operation that raised ended, and what the job hears of it."""
        # Whatever it contains, it must not break a report or a line of the log.
        message = tail(str(error), _MESSAGE_CHARACTERS)
        if isinstance(error, OperationTimedOut | CommandTimedOut):
            return Progress.TIMED_OUT, message
        if isinstance(error, HostenvError | OSError):
            return Progress.FAILED, message
        # A defect of ours must not leave the job without an end.
        self._log(traceback.format_exc().encode("ascii", "backslashreplace").decode())
        return Progress.FAILED, f"internal error: {type(error).__name__} {message}; see this node's journal"

    def _execute(self, context: Context, action: Action) -> dict[str, object] | None:
        operations = self._operations
        # Removing a site frees space.
        if action.op != "deactivate":
            demand_room(self._config)
        match action.op:
            case "backup":
                return dict(operations.backup(context, action))
            case "restore":
                entry = self._entry(action.user)
                snapshots = self._api.backup_snapshots(context.job, action.from_node or "", action.user)
                operations.restore(context, action, entry, snapshots)
            case "sync":
                operations.sync(context, action)
            case "handover":
                operations.handover(context, action)
            case "activate":
                operations.activate(context, action, self._entry(action.user))
            case "reload":
                operations.reload(context, action, self._entry(action.user))
            case "deactivate":
                operations.deactivate(context, action)
        return None

    def _entry(self, user: str) -> dict[str, object]:
        part = Slice.recorded(self._config)
        entry = None if part is None else part.environments.get(user)
        if entry is None:
            raise HostenvError(
                f"the generation on {self._config.node} has no environment {user}; start a new job"
            )
        return dict(entry)

    def _left_behind(self, journal: JobJournal) -> str | None:
        left = [
            message for user in journal.users if (message := self._operations.left_behind(user)) is not None
        ]
        return "; ".join(left) or None

    def _clean_up(self, journal: JobJournal, step: Cleanup) -> None:
        context = Context(journal.job_id, Deadline.after(self._config.action_timeout))
        user = step.user
        self._log(f"job {journal.job_id}: {_VERBS[type(step)]} {user}")
        try:
            match step:
                case Thaw():
                    self._operations.thaw(context, user)
                case Keep():
                    self._operations.keep(context, user)
                case Withdraw():
                    self._operations.withdraw(context, user)
                case Revert():
                    self._operations.revert(context, user)
        except Exception as error:
            _, message = self._failure(error)
            trouble = f"could not {_VERBS[type(step)]} {user}: {message}"
            self._log(f"job {journal.job_id}: {trouble}")
            self._failed.add((journal.job_id, user))
            self._journals.save(journal.troubled(user, f"{trouble}; it is tried again"))
            return
        self._journals.save(after(journal, step))


def _waits_for_another_node(journal: JobJournal, step: Step) -> bool:
    """Such a step needs no slot: the other node may wait for one that its own wait for this one holds."""
    match step:
        case Wait():
            return True
        case Start(index):
            # The two sides of a round work in turn.
            return journal.actions[index].action.op == "sync"
    return False


def _works(journal: JobJournal, step: Step) -> bool:
    """Whether a step does something to an environment, which may take long."""
    match step:
        case Start() | Thaw() | Keep() | Withdraw() | Revert():
            return True
        case Announce(index):
            return journal.actions[index].action.op == "deactivate"
    return False


_VERBS = {Thaw: "thaw", Keep: "keep the new release of", Withdraw: "withdraw", Revert: "revert"}
