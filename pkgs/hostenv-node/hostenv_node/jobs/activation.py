"""`hostenv-node activate`: takes in what comin and the provider have for this node (contract 8).

It works on no job: each has a process of its own (`job_run`), which this starts for every job that is open.
So it ends soon, and no home delays what it is started for.
"""

import time
from collections.abc import Callable, Collection
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.intents import parse_intent

from hostenv_node import locks
from hostenv_node.comin import spool
from hostenv_node.comin.generation import Generation, commit_of
from hostenv_node.comin.status import broken_commit
from hostenv_node.comin.switch import profile_target, reapply
from hostenv_node.config import Config
from hostenv_node.jobs.api import INTENT, Api, Conflict, Event, Unreachable
from hostenv_node.jobs.journal import JobJournal
from hostenv_node.jobs.journal_store import JournalStore
from hostenv_node.jobs.operations import Operations

StartJobs = Callable[[Collection[str]], None]
"""Lets every one of these jobs be worked on, those left alone that are already."""


class Activation:
    """One run; `log` gets one line for everything that it does."""

    def __init__(
        self,
        config: Config,
        api: Api,
        operations: Operations,
        start_jobs: StartJobs,
        log: Callable[[str], None],
    ) -> None:
        self._config = config
        self._api = api
        self._operations = operations
        self._start_jobs = start_jobs
        self._log = log
        self._journals = JournalStore(config.jobs_dir)
        self._taken: str | None = None
        self._refused: tuple[Path, str] | None = None

    def run(self) -> None:
        """Take in all that is there now, and start the jobs.

        Raises HostenvError when the provider cannot be reached or refuses this node, or when a generation
        failed; what is left is taken up by the next run.
        """
        while True:
            try:
                self._take_in()
            finally:
                # Open jobs continue, even if nothing new could be taken in.
                open_jobs = self._journals.load()
                if open_jobs:
                    self._start_jobs([journal.job_id for journal in open_jobs])
            self._report_broken_commit()
            self._tidy()
            # What the hook left while this run was under way has started no other run.
            if not spool.entries(self._config):
                break
        if self._refused:
            raise HostenvError(self._refused[1])

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
            self._api.post(job_id, Event("failed", INTENT, reason))
        except Conflict as conflict:
            self._log(f"job {job_id}: is {conflict.state} already")

    def _tidy(self) -> None:
        """What upkeep there is, but for the environments of open jobs, which belong to these."""
        open_jobs = self._journals.load()
        locks.forget_jobs(self._config, {journal.job_id for journal in open_jobs})
        busy = {user for journal in open_jobs for user in journal.users}
        for problem in self._operations.prune(time.time(), busy, lambda: bool(spool.entries(self._config))):
            self._log(problem)
