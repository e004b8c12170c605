"""`hostenv-node activate`: carries out deploy intents (contract 8).

The rules are in `decide`; this is the shell that shows them disk and network and performs their steps. Every
step is recorded durably before the next, so that a run cut short at any moment is taken up by the next one.
"""

import time
import traceback
from collections.abc import Callable
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.lines import tail

from hostenv_node.comin import spool
from hostenv_node.comin.generation import Generation, Slice, commit_of
from hostenv_node.comin.status import broken_commit
from hostenv_node.comin.switch import profile_target, reapply
from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.errors import OperationTimedOut
from hostenv_node.intent import Action, parse_intent
from hostenv_node.jobs.api import Api, Conflict, Event, NotFound, Unreachable
from hostenv_node.jobs.decide import (
    Announce,
    Cleanup,
    Close,
    FailedCleanup,
    Finish,
    Keep,
    NextStep,
    Report,
    Revert,
    Start,
    Tell,
    Thaw,
    Wait,
    Withdraw,
    after,
    next_step,
)
from hostenv_node.jobs.disk_space import demand_room
from hostenv_node.jobs.job_status import VERDICTS, JobSnapshot
from hostenv_node.jobs.journal import JobJournal, Progress
from hostenv_node.jobs.journal_store import JournalStore
from hostenv_node.jobs.operations import Context, Operations
from hostenv_node.run import CommandTimedOut

_INTENT = "intent"
# The provider wakes a long poll at a change of the job; of other jobs and of comin a wait hears at its end.
_WAIT_SECONDS = 5
_MESSAGE_CHARACTERS = 8000


class Agent:
    """One run of the activation; `log` gets one line for everything that it does."""

    def __init__(self, config: Config, api: Api, operations: Operations, log: Callable[[str], None]) -> None:
        self._config = config
        self._api = api
        self._operations = operations
        self._log = log
        self._journals = JournalStore(config.jobs_dir)
        self._taken: str | None = None
        self._refused: tuple[Path, str] | None = None
        self._failed: set[FailedCleanup] = set()
        self._unknown: set[str] = set()

    def run(self) -> None:
        """Do all that can be done now; returns when nothing is left to do or to wait for.

        Raises HostenvError when the provider cannot be reached or refuses this node, or when a generation or
        a step after a verdict failed; what is left is taken up by the next run.
        """
        while True:
            self._take_in()
            chosen = self._next_step()
            if chosen is not None:
                self._perform(chosen)
                continue
            self._report_broken_commit()
            for problem in self._operations.prune(time.time()):
                self._log(problem)
            # What the hook left while this run was under way has started no other run.
            if not spool.entries(self._config):
                break
        if self._refused:
            raise HostenvError(self._refused[1])
        if self._failed:
            left = ", ".join(f"{user} of job {job}" for job, user in sorted(self._failed))
            raise HostenvError(f"the next run tries again: {left}")

    def _take_in(self) -> None:
        """Take over what comin and the provider have for this node."""
        self._complete_switch()
        for entry in spool.entries(self._config):
            failure = entry.deployment.failure
            if failure is not None:
                self._log(failure)
                if not self._was_completed(entry.deployment.commit):
                    self._fail_intents(entry.deployment.commit, failure)
            entry.remove()
        generation = Generation.recorded(self._config)
        if generation is not None and generation.commit != self._taken:
            self._take_intents(generation)
            self._taken = generation.commit

    def _complete_switch(self) -> None:
        target = profile_target(self._config)
        if target is None or (self._refused and self._refused[0] == target):
            return
        before = Generation.recorded(self._config)
        try:
            now = reapply(self._config, self._api.slice)
        except Unreachable:
            # No fault of the generation: the next run completes it.
            raise
        except HostenvError as error:
            problem = f"cannot switch to comin's generation {target}: {error}"
            self._refused = (target, problem)
            # comin calls nobody after a switch that was killed, so the job must hear of it from here.
            commit = commit_of(target)
            if commit is not None:
                self._fail_intents(commit, problem)
            return
        if now is not None and now != before:
            self._log(f"completed the switch to {now.commit}")

    def _was_completed(self, commit: str) -> bool:
        """Whether the switch that comin saw fail was done since: the provider's silence is no verdict."""
        generation = Generation.recorded(self._config)
        return generation is not None and generation.late and generation.commit == commit

    def _report_broken_commit(self) -> None:
        broken = broken_commit(self._config)
        generation = Generation.recorded(self._config)
        # A commit that is deployed did evaluate; comin evaluates it again after a restart.
        if broken is not None and (generation is None or generation.commit != broken.commit):
            self._fail_intents(broken.commit, broken.reason)

    def _take_intents(self, generation: Generation) -> None:
        journals = self._journals.load()
        known = {journal.job_id for journal in journals}
        order = max((journal.order for journal in journals), default=0)
        for pending in self._api.pending(generation.commit, known):
            if pending.job_id in known:
                continue
            try:
                actions = parse_intent(pending.intent)
            except HostenvError as error:
                self._post_failed_intent(pending.job_id, str(error))
                continue
            order += 1
            self._journals.save(
                JobJournal.opened(pending.job_id, pending.commit_sha, self._config.node, order, actions)
            )
            self._log(f"job {pending.job_id}: {len(actions)} actions at {pending.commit_sha}")

    def _fail_intents(self, commit: str, reason: str) -> None:
        """Fail what waits for a commit that this node could not deploy (contract 8).

        Older intents that a deployed generation has brought are none of its business.
        """
        brought = {journal.job_id for journal in self._journals.load()}
        generation = Generation.recorded(self._config)
        if generation is not None and generation.commit != commit:
            brought |= {pending.job_id for pending in self._api.pending(generation.commit)}
        for pending in self._api.pending(commit):
            if pending.commit_sha == commit or pending.job_id not in brought:
                self._post_failed_intent(pending.job_id, reason)

    def _post_failed_intent(self, job_id: str, reason: str) -> None:
        self._log(f"job {job_id}: failed: {reason}")
        try:
            self._api.post(job_id, Event("failed", _INTENT, reason))
        except Conflict as conflict:
            self._log(f"job {job_id}: is {conflict.state} already")

    def _next_step(self) -> NextStep | None:
        journals = self._journals.load()
        jobs = {journal.job_id: job for journal in journals if (job := self._job(journal))}
        return next_step(journals, jobs, self._failed)

    def _job(self, journal: JobJournal) -> JobSnapshot | None:
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

    def _perform(self, chosen: NextStep) -> None:
        journal, step = chosen.journal, chosen.step
        match step:
            case Wait():
                self._api.job(journal.job_id, _WAIT_SECONDS)
                # The job waited for may wait in its turn, elsewhere, for one that these hold up here.
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
            case Tell(trouble):
                # Where the provider does not take it, nothing is shown; the work goes on all the same.
                self._post(journal, Event("waiting", _INTENT, trouble))
                self._journals.save(after(journal, step))
            case Finish():
                if self._post(journal, Event("success", _INTENT, self._left_behind(journal))):
                    self._journals.save(after(journal, step))
            case Thaw() | Keep() | Withdraw() | Revert():
                self._clean_up(journal, step)

    def _post(self, journal: JobJournal, event: Event) -> bool:
        """Whether the provider took the event; if not, the job has a verdict, which the next look shows."""
        try:
            self._api.post(journal.job_id, event)
        except Conflict as conflict:
            if conflict.state not in VERDICTS:
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
        # Whoever it comes from, no report and no line of the log may break over it.
        message = tail(str(error), _MESSAGE_CHARACTERS)
        if isinstance(error, OperationTimedOut | CommandTimedOut):
            return Progress.TIMED_OUT, message
        if isinstance(error, HostenvError | OSError):
            return Progress.FAILED, message
        # A defect of ours must not leave the job without an end, nor stop other jobs.
        self._log(traceback.format_exc().encode("ascii", "backslashreplace").decode())
        return Progress.FAILED, f"internal error: {type(error).__name__} {message}; see this node's journal"

    def _execute(self, context: Context, action: Action) -> dict[str, object] | None:
        operations = self._operations
        # Taking a site away is what makes room.
        if action.op != "deactivate":
            demand_room(self._config)
        match action.op:
            case "backup":
                return dict(operations.backup(context, action))
            case "restore":
                entry = self._entry(action.user)
                snapshots = self._api.backup_snapshots(context.job, action.from_node or "", action.user)
                operations.restore(context, action, entry, snapshots)
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
        users = dict.fromkeys(record.action.user for record in journal.actions)
        left = [message for user in users if (message := self._operations.left_behind(user)) is not None]
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


_VERBS = {Thaw: "thaw", Keep: "keep the new release of", Withdraw: "withdraw", Revert: "revert"}
