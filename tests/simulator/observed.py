"""A store with the moments at which the service may die, and with an eye on the placements it decides."""

from collections.abc import Callable
from typing import Any, Protocol

from hostenv_core.states import JobState, Status
from hostenv_provider.rules.jobs import Accepted, Deploy, Event, JobSnapshot, Outcome, Retire, Uncertain
from hostenv_provider.rules.stored import NodeCommit, Prepared, Verification
from hostenv_provider.store.store import Store


class Observer(Protocol):
    """Hears of what the service decides, in the moment in which it is durable."""

    def placed(self, job_id: str, change: Deploy | Retire) -> None:
        """An environment is deployed, or retired, by a job."""

    def failed(self) -> None:
        """Some job failed."""


class Observed:
    """Passes everything on to a store."""

    def __init__(self, store: Store, point: Callable[[], None], observer: Observer) -> None:
        self._store = store
        self._point = point
        self._observer = observer
        self.announced: set[str] = set()
        """The commits of all jobs whose intents were stored."""
        self._version = -1
        self._snapshots: dict[str, JobSnapshot] = {}
        self._verifiable: list[Verification] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    # Nodes ask far more often than anything changes.

    def snapshot(self, job_id: str) -> JobSnapshot:
        self._forget_after_change()
        if job_id not in self._snapshots:
            self._snapshots[job_id] = self._store.snapshot(job_id)
        return self._snapshots[job_id]

    def verifiable(self) -> list[Verification]:
        self._forget_after_change()
        if self._verifiable is None:
            self._verifiable = self._store.verifiable()
        return self._verifiable

    def _forget_after_change(self) -> None:
        version = self._store.version()
        if version != self._version:
            self._version, self._snapshots, self._verifiable = version, {}, None

    def set_stage(self, job_id: str, stage: str) -> None:
        self._point()
        self._store.set_stage(job_id, stage)

    def start_waiting(self, job_id: str, prepared: Prepared) -> None:
        self._point()
        self._store.start_waiting(job_id, prepared)
        self.announced.add(prepared.commit_sha)
        self._point()

    def keep_slice(self, node: str, text: str) -> None:
        self._point()
        self._store.keep_slice(node, text)

    def replace_commit(self, job_id: str, node: str, commit: NodeCommit) -> None:
        self._point()
        self._store.replace_commit(job_id, node, commit)

    def mark_pushed(self, job_id: str) -> None:
        self._point()
        self._store.mark_pushed(job_id)

    def plan_again(self, job_id: str) -> None:
        self._point()
        self._store.plan_again(job_id)

    def postpone(self, job_id: str, obstacle: str) -> float | None:
        self._point()
        return self._store.postpone(job_id, obstacle)

    def succeed(self, job_id: str, commit_sha: str | None) -> None:
        self._point()
        self._store.succeed(job_id, commit_sha)

    def fail(self, job_id: str, reason: str) -> None:
        self._store.fail(job_id, reason)
        self._observer.failed()

    def expire(self, limit: float) -> None:
        if self._store.expire(limit):
            self._observer.failed()

    def record_event(self, job_id: str, event: Event) -> Outcome | None:
        outcome = self._store.record_event(job_id, event)
        self._tell(job_id, outcome)
        return outcome

    def record_verification(self, job_id: str, user: str, status: Status, message: str | None) -> Outcome:
        self._point()
        outcome = self._store.record_verification(job_id, user, status, message)
        self._tell(job_id, outcome)
        return outcome

    def record_failed_check(
        self, job_id: str, user: str, found: str, outlook: str, *, yields: bool
    ) -> Outcome:
        self._point()
        outcome = self._store.record_failed_check(job_id, user, found, outlook, yields=yields)
        self._tell(job_id, outcome)
        return outcome

    def _tell(self, job_id: str, outcome: Outcome | None) -> None:
        if isinstance(outcome, Accepted):
            for change in outcome.placements:
                if not isinstance(change, Uncertain):
                    self._observer.placed(job_id, change)
            if outcome.state is JobState.FAILED:
                self._observer.failed()
