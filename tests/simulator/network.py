"""The provider's API as nodes reach it: messages are lost before or after they count, or come late."""

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from hostenv_core.states import JobState, Status
from hostenv_node.jobs.api import ApiError, Conflict, Event, NotFound, PendingIntent, Unreachable
from hostenv_node.jobs.job_status import JobSnapshot, Row
from hostenv_provider.rules import jobs

from simulator.faults import Faults
from simulator.machines import Machine
from simulator.provider import Provider
from simulator.sites import Changes

_ATTEMPTS = 3

T = TypeVar("T")


class Network:
    """All that is between the nodes and the provider."""

    def __init__(self, provider: Provider, faults: Faults) -> None:
        self.provider = provider
        self.faults = faults
        self.late: list[Callable[[], object]] = []
        """Requests whose sender has given up waiting; they may still arrive."""
        self._views: dict[str, tuple[jobs.JobSnapshot, JobSnapshot]] = {}

    def deliver_late(self) -> None:
        """A late request arrives; nobody waits for its answer."""
        if self.late and self.provider.up:
            request = self.late.pop(self.faults.choose(len(self.late)))
            try:
                request()
            except ApiError:
                return

    def view(self, job_id: str) -> JobSnapshot:
        """The job with all its rows, as the API shows it."""
        snapshot = self.provider.store.snapshot(job_id)
        known = self._views.get(job_id)
        if known is None or known[0] is not snapshot:
            rows = tuple(Row(row.node, row.action.op, row.action.user, row.status) for row in snapshot.rows)
            known = self._views[job_id] = snapshot, JobSnapshot(job_id, snapshot.state, rows)
        return known[1]


class SimulatedApi:
    """Implements what the agent uses of `hostenv_node.jobs.api.Api` for one node."""

    def __init__(self, machine: Machine, network: Network) -> None:
        self._machine = machine
        self._network = network
        self._faults = network.faults
        self._provider = network.provider

    def pending(self, commit_sha: str, opened: Collection[str] | None = None) -> list[PendingIntent]:
        def request() -> list[PendingIntent]:
            history = self._machine.history
            commit = history.find(commit_sha)
            if opened is not None:
                self._provider.store.hear_open_jobs(self._machine.name, opened)
            if self._machine.series is not None:
                self._provider.store.hear_database(self._machine.name, self._machine.series)
            return [
                PendingIntent(each.job_id, each.commit_sha, each.intent)
                for each in self._provider.store.waiting_intents(self._machine.name)
                if history.is_ancestor(history.find(each.commit_sha), commit)
            ]

        return self._exchange(request)

    def slice(self, sha256: str) -> str:
        def request() -> str:
            text = self._provider.store.slice(self._machine.name, sha256)
            if text is None:
                raise NotFound("no such slice")
            return text

        return self._exchange(request)

    def job(self, job_id: str, wait: int = 0) -> JobSnapshot:
        def request() -> JobSnapshot:
            if self._provider.store.intent(job_id, self._machine.name) is None:
                raise NotFound("no intent")
            return self._network.view(job_id)

        if wait:
            self._faults.leave()
        return self._exchange(request)

    def backup_snapshots(self, job_id: str, source: str, user: str) -> Mapping[str, str]:
        def request() -> Mapping[str, str]:
            payload = self._provider.store.backup_payload(job_id, source, user)
            snapshots = payload.get("snapshots") if payload is not None else None
            if not isinstance(snapshots, dict):
                raise ApiError(f"there is no backup of {user} from {source} in job {job_id}")
            return snapshots

        return self._exchange(request)

    def send_part(self, job_id: str, user: str, name: str, part: Changes) -> None:
        def request() -> None:
            state = self._provider.store.snapshot(job_id).state
            if state is not JobState.WAITING:
                raise Conflict(f"the job is {state}", state)
            self._faults.log(f"{self._machine.name} → provider: {job_id} {name} of {user}")
            self._provider.parts[job_id, user, name] = part

        self._exchange(request, late=True)

    def fetch_part(self, job_id: str, user: str, name: str, *, wait: bool) -> Changes | None:
        key = job_id, user, name
        if wait and key not in self._provider.parts:
            self._faults.leave()
        return self._exchange(lambda: self._provider.parts.get(key))

    def post(self, job_id: str, event: Event) -> None:
        name = self._machine.name
        said = jobs.Event(
            name,
            Status(event.status),
            event.phase,
            event.message,
            event.payload,
            event.action_index,
        )

        def request() -> None:
            outcome = self._provider.store.record_event(job_id, said)
            answer = "404" if outcome is None else type(outcome).__name__
            self._faults.log(f"{name} → provider: {job_id} {said.status}/{said.phase}: {answer}")
            match outcome:
                case None:
                    raise NotFound("no intent")
                case jobs.Malformed(error):
                    raise ApiError(error)
                case jobs.Conflict(state, error):
                    raise Conflict(error, state)

        self._exchange(request, late=True)

    def _exchange(self, request: Callable[[], T], *, late: bool = False) -> T:
        for _ in range(_ATTEMPTS):
            self._faults.point()
            if self._machine.cut or not self._provider.up or self._faults.happens("silence"):
                break
            if self._faults.happens("message"):
                if late and self._faults.happens("late"):
                    self._network.late.append(request)
                continue
            answer = request()
            if self._faults.happens("answer"):
                continue
            self._faults.point()
            return answer
        raise Unreachable("no usable answer")
