"""The service's memory without SQLite: what `store.store.Store` keeps, as values, and the same rules applied.

It exists for speed. `test_simulator` runs the same schedules on both and compares every message.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from hostenv_provider.names import PROVIDER_NODE
from hostenv_provider.plan.generated import slice_hash
from hostenv_provider.rules import endings, jobs, queue
from hostenv_provider.rules.intents import VERIFY, Deployed, intent_document
from hostenv_provider.rules.jobs import (
    ENDED,
    FINAL,
    INTENT_PHASE,
    Accepted,
    Deploy,
    Event,
    JobSnapshot,
    JobState,
    Noted,
    Outcome,
    Repeated,
    Request,
    Row,
    Status,
    Uncertain,
)
from hostenv_provider.rules.stored import (
    Delivery,
    Enqueued,
    Job,
    NodeCommit,
    Prepared,
    Target,
    Verification,
    WaitingIntent,
)
from hostenv_provider.store.node_commits import SLICES_KEPT

_NOTHING = JobSnapshot(JobState.QUEUED, (), frozenset())


@dataclass
class _Entry:
    job_id: str
    number: int
    request: Request
    snapshot: JobSnapshot = _NOTHING
    progress_at: float = 0.0
    stage: str | None = None
    commit: str | None = None
    position: int | None = None
    pushed: bool = False
    reason: str | None = None
    superseded_by: str | None = None
    failing_since: float | None = None
    attempts: int = 0
    not_before: float = 0.0
    commits: dict[str, NodeCommit] = field(default_factory=dict)
    intents: dict[str, dict[str, object]] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    notes: dict[str, str | None] = field(default_factory=dict)
    payloads: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)


class MemoryStore:
    """Stands in for `store.store.Store`; every method is atomic, for only one task runs at a time."""

    def __init__(self, clock: Callable[[], float], new_id: Callable[[], str]) -> None:
        self._clock = clock
        self._new_id = new_id
        self._started = clock()
        self._jobs: dict[str, _Entry] = {}
        self._open: dict[str, _Entry] = {}
        self._position = 0
        self._deployed: dict[str, tuple[str, Deployed]] = {}
        self._stale: dict[str, tuple[str, set[str]]] = {}
        self._deliveries: dict[Delivery, str] = {}
        self._slices: dict[str, dict[str, str]] = {}

    # The life of a job

    def enqueue(self, request: Request, delivery: Delivery | None = None) -> Enqueued:
        if delivery is not None:
            earlier = self._delivered(delivery)
            if earlier is not None:
                return Enqueued(earlier, created=False)
        job_id = self._new_id()
        entry = _Entry(job_id, len(self._jobs), request, progress_at=self._clock())
        self._jobs[job_id] = self._open[job_id] = entry
        if delivery is not None:
            self._deliveries[delivery] = job_id
        self._coalesce(request.project)
        return Enqueued(job_id, created=True)

    def recover(self) -> None:
        self._started = self._clock()
        for entry in self._open.values():
            if entry.snapshot.state is JobState.RUNNING:
                self._set_state(entry, JobState.QUEUED)
        for project in {entry.request.project for entry in self._open.values()}:
            self._coalesce(project)

    def take_next(self) -> Job | None:
        choice = queue.next_job(self._unfinished())
        if choice is None:
            return None
        self._supersede(choice)
        entry = self._jobs[choice.job]
        self._set_state(entry, JobState.RUNNING)
        entry.progress_at = self._clock()
        return self.job(choice.job)

    def set_stage(self, job_id: str, stage: str) -> None:
        self._jobs[job_id].stage = stage

    def start_waiting(self, job_id: str, prepared: Prepared) -> None:
        entry = self._jobs[job_id]
        assert entry.snapshot.state is JobState.RUNNING
        self._position += 1
        entry.commit, entry.position, entry.pushed = prepared.commit_sha, self._position, False
        entry.progress_at = self._clock()
        entry.intents = {node: intent_document(actions) for node, actions in prepared.actions.items()}
        entry.commits = dict(prepared.commits)
        for node, commit in entry.commits.items():
            self.keep_slice(node, commit.slice)
        entry.targets = {target.user: target for target in prepared.targets}
        listed = {**prepared.actions, PROVIDER_NODE: prepared.verifications}
        rows = tuple(
            Row(node, index, action)
            for node, actions in sorted(listed.items())
            for index, action in enumerate(actions)
        )
        entry.snapshot = JobSnapshot(JobState.WAITING, rows, frozenset(prepared.actions))

    def keep_slice(self, node: str, text: str) -> None:
        kept = self._slices.setdefault(node, {})
        kept.pop(slice_hash(text), None)
        kept[slice_hash(text)] = text
        while len(kept) > SLICES_KEPT:
            del kept[next(iter(kept))]

    def replace_commit(self, job_id: str, node: str, commit: NodeCommit) -> None:
        self.keep_slice(node, commit.slice)
        self._jobs[job_id].commits[node] = commit

    def mark_pushed(self, job_id: str) -> None:
        self._jobs[job_id].pushed = True

    def plan_again(self, job_id: str) -> None:
        entry = self._jobs[job_id]
        if entry.snapshot.state not in (JobState.RUNNING, JobState.WAITING):
            return
        entry.intents, entry.targets, entry.payloads, entry.commits = {}, {}, [], {}
        entry.stage = entry.commit = entry.position = None
        entry.snapshot = _NOTHING
        entry.failing_since, entry.attempts = None, 0
        self._coalesce(entry.request.project)

    def postpone(self, job_id: str, obstacle: str) -> float | None:
        entry = self._jobs[job_id]
        now = self._clock()
        since = entry.failing_since = now if entry.failing_since is None else entry.failing_since
        entry.attempts += 1
        pause = queue.pause(entry.attempts, now - since)
        if pause is None:
            self.fail(job_id, obstacle)
            return None
        entry.stage, entry.not_before = None, now + pause
        self._set_state(entry, JobState.QUEUED)
        self._coalesce(entry.request.project)
        return pause

    def succeed(self, job_id: str, commit_sha: str | None) -> None:
        entry = self._jobs[job_id]
        entry.commit = commit_sha
        self._apply(entry, Accepted(JobState.SUCCEEDED))

    def fail(self, job_id: str, reason: str) -> None:
        entry = self._jobs[job_id]
        if entry.snapshot.state not in ENDED:
            self._apply(entry, jobs.fail(entry.snapshot, reason))

    def expire(self, limit: float) -> list[str]:
        before = self._clock() - limit
        if self._started > before:
            return []
        expired = [
            entry
            for entry in self._open.values()
            if entry.snapshot.state is JobState.WAITING and entry.progress_at <= before
        ]
        for entry in expired:
            self._apply(entry, endings.expire(entry.snapshot, limit))
        return [entry.job_id for entry in expired]

    # Events

    def record_event(self, job_id: str, event: Event) -> Outcome | None:
        entry = self._jobs[job_id]
        if event.node not in entry.intents:
            return None
        outcome = jobs.on_event(entry.snapshot, event)
        if isinstance(outcome, Noted) and entry.notes.get(event.node) == event.message:
            return Repeated()
        if isinstance(outcome, Noted) or (event.phase, event.status) == (INTENT_PHASE, Status.SUCCESS):
            entry.notes[event.node] = event.message
        if isinstance(outcome, Accepted):
            if event.status in FINAL:
                index = None if event.phase == INTENT_PHASE else outcome.rows[0].index
                final = entry.snapshot.final_events | {(event.node, index, event.status)}
                entry.snapshot = replace(entry.snapshot, final_events=final)
            if event.phase == "backup" and event.status is Status.SUCCESS and event.payload is not None:
                entry.payloads.append((event.node, event.payload))
            self._apply(entry, outcome)
        return outcome

    def start_verification(self, job_id: str, user: str) -> None:
        entry = self._jobs[job_id]
        row = entry.snapshot.row(PROVIDER_NODE, VERIFY, user)
        if row is not None and row.status is Status.QUEUED:
            self._write_rows(entry, (replace(row, status=Status.RUNNING, begun=True),))

    def record_verification(self, job_id: str, user: str, status: Status, message: str | None) -> Outcome:
        entry = self._jobs[job_id]
        outcome = jobs.on_verification(entry.snapshot, user, status, message)
        if isinstance(outcome, Accepted):
            self._apply(entry, outcome)
        return outcome

    def record_failed_check(
        self, job_id: str, user: str, found: str, outlook: str, *, yields: bool
    ) -> Outcome:
        entry = self._jobs[job_id]
        newer = queue.newer_push(self._unfinished(), job_id) if yields else None
        outcome = jobs.on_failed_check(entry.snapshot, user, found, outlook, newer)
        if isinstance(outcome, Accepted):
            self._apply(entry, outcome)
        return outcome

    # Looks

    def job(self, job_id: str) -> Job | None:
        entry = self._jobs.get(job_id)
        if entry is None:
            return None
        return Job(
            job_id=job_id,
            request=entry.request,
            state=entry.snapshot.state,
            stage=entry.stage,
            commit_sha=entry.commit,
            reason=entry.reason,
            superseded_by=entry.superseded_by,
            created_at="",
            started_at=None,
            waiting_at=None,
            progress_at="",
            finished_at=None,
            pushed=entry.pushed,
            obstacle=None,
            not_before=None,
        )

    def snapshot(self, job_id: str) -> JobSnapshot:
        return self._jobs[job_id].snapshot

    def unpushed(self) -> list[Job]:
        found = [
            entry
            for entry in self._open.values()
            if entry.snapshot.state is JobState.WAITING and not entry.pushed
        ]
        ordered = sorted(found, key=lambda entry: entry.position or 0)
        return [job for entry in ordered if (job := self.job(entry.job_id)) is not None]

    def intent(self, job_id: str, node: str) -> dict[str, object] | None:
        entry = self._jobs.get(job_id)
        return None if entry is None else entry.intents.get(node)

    def waiting_intents(self, node: str) -> list[WaitingIntent]:
        found = [
            entry
            for entry in self._open.values()
            if entry.snapshot.state is JobState.WAITING
            and node in entry.intents
            and node not in entry.snapshot.finished
        ]
        return [
            WaitingIntent(entry.job_id, entry.commits[node].sha, entry.intents[node], entry.commit or "")
            for entry in sorted(found, key=lambda entry: entry.position or 0)
        ]

    def node_commits(self, job_id: str) -> dict[str, str | None]:
        return {node: commit.sha for node, commit in sorted(self._jobs[job_id].commits.items())}

    def slice(self, node: str, sha256: str) -> str | None:
        return self._slices.get(node, {}).get(sha256)

    def backup_payload(self, job_id: str, source: str, user: str) -> dict[str, object] | None:
        for node, payload in reversed(self._jobs[job_id].payloads):
            if node == source and payload.get("user") == user:
                return dict(payload)
        return None

    def verifiable(self) -> list[Verification]:
        return [
            Verification(entry.job_id, entry.targets[row.action.user])
            for entry in self._open.values()
            for row in jobs.verifiable(entry.snapshot)
        ]

    def deployment(self, user: str) -> Deployed | None:
        found = self._deployed.get(user)
        return None if found is None else found[1]

    def deployed(self, project: str) -> dict[str, Deployed]:
        return {user: each for user, (owner, each) in self._deployed.items() if owner == project}

    def stale(self, project: str) -> dict[str, frozenset[str]]:
        return {
            user: frozenset(nodes)
            for user, (owner, nodes) in self._stale.items()
            if owner == project and nodes
        }

    # Writing down what the rules say

    def _delivered(self, delivery: Delivery) -> str | None:
        first = self._deliveries.get(delivery)
        if first is None:
            return None
        last = self._jobs[first]
        while last.superseded_by is not None:
            last = self._jobs[last.superseded_by]
        return None if last.snapshot.state is JobState.FAILED else first

    def _unfinished(self) -> list[queue.Unfinished]:
        return [
            queue.Unfinished(
                job=entry.job_id,
                number=entry.number,
                request=entry.request,
                state=entry.snapshot.state,
                untouched=entry.snapshot.state is JobState.WAITING and entry.snapshot.untouched,
                postponed=entry.not_before > self._clock(),
            )
            for entry in self._open.values()
        ]

    def _coalesce(self, project: str) -> None:
        unfinished = self._unfinished()
        queued = [
            item for item in unfinished if item.state is JobState.QUEUED and item.request.project == project
        ]
        if queued:
            self._supersede(queue.coalesce(unfinished, queued[-1].job))

    def _supersede(self, choice: queue.Choice) -> None:
        for job_id in choice.superseded:
            entry = self._jobs[job_id]
            entry.superseded_by = choice.job
            entry.reason = f"superseded by job {choice.job}"
            self._set_state(entry, JobState.SUPERSEDED)
        self._jobs[choice.job].request = choice.request

    def _set_state(self, entry: _Entry, state: JobState) -> None:
        entry.snapshot = replace(entry.snapshot, state=state)
        if state in ENDED:
            del self._open[entry.job_id]

    def _write_rows(self, entry: _Entry, rows: tuple[Row, ...]) -> None:
        changed = {row.key: row for row in rows}
        after = tuple(changed.get(row.key, row) for row in entry.snapshot.rows)
        entry.snapshot = replace(entry.snapshot, rows=after)

    def _apply(self, entry: _Entry, accepted: Accepted) -> None:
        self._write_rows(entry, accepted.rows)
        for change in accepted.placements:
            if isinstance(change, Deploy):
                self._deploy(entry, change)
                continue
            if isinstance(change, Uncertain):
                self._doubt(change)
                continue
            self._stale.get(change.user, ("", set()))[1].discard(change.node)
            found = self._deployed.get(change.user)
            if change.for_good and found is not None and found[1].node == change.node:
                del self._deployed[change.user]
        if accepted.progress:
            entry.progress_at = self._clock()
        if accepted.state in ENDED:
            entry.reason = accepted.reason
            self._set_state(entry, accepted.state)

    def _doubt(self, change: Uncertain) -> None:
        owner, each = self._deployed.get(change.user, ("", None))
        if each is not None and each.node == change.node:
            environment = {**each.environment, "enable": False}
            self._deployed[change.user] = owner, replace(each, environment=environment)

    def _deploy(self, entry: _Entry, change: Deploy) -> None:
        project, user = entry.request.project, change.user
        environment = entry.targets[user].environment
        sources = set(change.sources)
        previous_source = None
        if user in self._deployed:
            before = self._deployed[user][1]
            sources.add(before.node)
            old, new = before.environment["repo"], environment["repo"]
            assert isinstance(old, Mapping)
            assert isinstance(new, Mapping)
            previous_source = before.previous_source if old["rev"] == new["rev"] else old
        self._deployed[user] = project, Deployed(user, change.to_node, environment, previous_source)
        stale = self._stale.setdefault(user, (project, set()))[1]
        stale |= sources
        stale.discard(change.to_node)
