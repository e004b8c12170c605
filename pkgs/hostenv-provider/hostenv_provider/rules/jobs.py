"""The rules of jobs: what an event does to a job, and what its end is.

Every rule is a function of recorded state and an event; the store loads the one and writes down what the rule
says (contract 5 and 7). Nothing here reads a clock, a file or the network.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hostenv_core.intents import VERIFY, Action, prerequisites
from hostenv_core.names import PROVIDER_NODE, is_snapshot
from hostenv_core.states import ENDED, FINAL, JobState, Status

INTENT_PHASE = "intent"


@dataclass(frozen=True)
class Request:
    """What a job was asked to do; it is kept with the job, and a job that supersedes another inherits it.

    `refs` are the Git references whose environments move to the head, None means all of them. `placements`
    and `migration_sources` map users to nodes. `accept_loss` are the users whose move may leave behind what
    it cannot bring along. `rollbacks` maps users to the `gitRef` of their environment, so that a later push
    of that reference can undo the roll-back.
    """

    project: str
    refs: frozenset[str] | None = frozenset()
    placements: Mapping[str, str] = field(default_factory=dict)
    migration_sources: Mapping[str, str] = field(default_factory=dict)
    skip_migrations: frozenset[str] = frozenset()
    accept_loss: frozenset[str] = frozenset()
    rollbacks: Mapping[str, str] = field(default_factory=dict)

    def moves(self, git_ref: str) -> bool:
        """Whether environments of this reference move to its head."""
        return self.refs is None or git_ref in self.refs

    def to_json(self) -> dict[str, object]:
        """The form in which it is kept with the job."""
        return {
            "project": self.project,
            "refs": None if self.refs is None else sorted(self.refs),
            "placements": dict(self.placements),
            "migrationSources": dict(self.migration_sources),
            "skipMigrations": sorted(self.skip_migrations),
            "acceptLoss": sorted(self.accept_loss),
            "rollbacks": dict(self.rollbacks),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> "Request":
        """The request that `to_json` wrote, also before there was `acceptLoss`."""
        refs = document["refs"]
        return cls(
            project=str(document["project"]),
            refs=None if refs is None else frozenset(_texts(refs)),
            placements=_text_map(document["placements"]),
            migration_sources=_text_map(document["migrationSources"]),
            skip_migrations=frozenset(_texts(document["skipMigrations"])),
            accept_loss=frozenset(_texts(document.get("acceptLoss", []))),
            rollbacks=_text_map(document["rollbacks"]),
        )


def _texts(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(item) for item in value]


def _text_map(value: object) -> dict[str, str]:
    assert isinstance(value, dict)
    return {str(key): str(item) for key, item in value.items()}


@dataclass(frozen=True)
class Row:
    """An action in its place in a node's intent, or of the service's own list, with what is known of it."""

    node: str
    index: int
    action: Action
    status: Status = Status.QUEUED
    message: str | None = None
    begun: bool = False
    """Whether it has ever been running."""

    @property
    def pending(self) -> bool:
        """Whether the action has not ended."""
        return self.status not in FINAL

    @property
    def key(self) -> tuple[str, int]:
        """What identifies the row in its job."""
        return self.node, self.index


@dataclass(frozen=True)
class Event:
    """What a node says about an action, or with the phase `intent` about its whole list (contract 4)."""

    node: str
    status: Status
    phase: str = INTENT_PHASE
    message: str | None = None
    payload: Mapping[str, object] | None = None
    action_index: int | None = None


@dataclass(frozen=True)
class JobSnapshot:
    """A job as the rules see it.

    `nodes` are those that have an intent. `final_events` are the final events of nodes that were recorded:
    node, index of the action or None for the intent, status.
    """

    state: JobState
    rows: tuple[Row, ...]
    nodes: frozenset[str]
    final_events: frozenset[tuple[str, int | None, Status]] = frozenset()

    @property
    def finished(self) -> frozenset[str]:
        """The nodes that posted `success/intent`."""
        return frozenset(
            node for node, index, status in self.final_events if index is None and status is Status.SUCCESS
        )

    @property
    def untouched(self) -> bool:
        """Whether no node has begun: all rows are still queued (contract 5, superseding)."""
        return not self.final_events and all(row.status is Status.QUEUED for row in self.rows)

    def row(self, node: str, op: str, user: str) -> Row | None:
        """The row of this action, if the job has it."""
        for row in self.rows:
            if (row.node, row.action.op, row.action.user) == (node, op, user):
                return row
        return None


@dataclass(frozen=True)
class Deploy:
    """The commit point of one environment: its target is the deployed placement from now on (contract 7)."""

    user: str
    to_node: str
    sources: frozenset[str]


@dataclass(frozen=True)
class Retire:
    """A node stopped an environment; `for_good` if the plan has no other place for it."""

    user: str
    node: str
    for_good: bool


@dataclass(frozen=True)
class Uncertain:
    """A node began to stop or to replace an environment, and nobody knows how far it got.

    If it is deployed there, the placement stays, but the next plan says `activate`, not `reload`.
    """

    user: str
    node: str


@dataclass(frozen=True)
class Accepted:
    """The event counts: rows, the job's state and placements change in one transaction.

    `progress` is whether the job has made progress by it: then its time-out starts again (contract 5).
    """

    state: JobState
    rows: tuple[Row, ...] = ()
    reason: str | None = None
    placements: tuple[Deploy | Retire | Uncertain, ...] = ()
    progress: bool = True


@dataclass(frozen=True)
class Noted:
    """What a node says about its part of the job is shown from now on, and changes nothing else."""


@dataclass(frozen=True)
class Repeated:
    """The event is already recorded or says nothing new; it is acknowledged and changes nothing."""


@dataclass(frozen=True)
class Conflict:
    """The event comes too late or too early; the poster is told the job's state (409)."""

    state: JobState
    error: str


@dataclass(frozen=True)
class Malformed:
    """The event names no action of this job or lacks what it must carry (400)."""

    error: str


Outcome = Accepted | Noted | Repeated | Conflict | Malformed


def on_event(job: JobSnapshot, event: Event) -> Outcome:
    """What an event of a node does to its job (contract 4, 5 and 7)."""
    if event.phase == INTENT_PHASE:
        return _on_intent_event(job, event)
    row = _addressed(job, event)
    if row is None:
        return Malformed(
            f"{event.phase!r} names no single action of {event.node}: give actionIndex as in the intent"
        )
    if (row.node, row.index, event.status) in job.final_events:
        return Repeated()
    if job.state is not JobState.WAITING:
        return Conflict(job.state, f"the job is {job.state}")
    if not row.pending:
        if event.status in FINAL:
            return Conflict(job.state, f"{row.action.op} of {row.action.user} already ended as {row.status}")
        return Repeated()
    if event.status in (Status.RUNNING, Status.SUCCESS):
        blocker = unmet(job, row)
        if blocker is not None:
            return Conflict(job.state, blocker)
    if event.status is Status.SUCCESS:
        return _on_success(job, row, event)
    if event.status in FINAL:
        return fail(job, _reason(row, event.status, event.message), changed=_with(row, event))
    told = event.message is not None and event.message != row.message
    if event.status is Status.QUEUED or (row.status is event.status and not told):
        return Repeated()
    changed = _with(row, event)
    # A node that only alternates between states would keep the source frozen for ever.
    forward = row.status is Status.QUEUED or changed.begun > row.begun
    return Accepted(job.state, rows=(changed,), progress=forward)


def _addressed(job: JobSnapshot, event: Event) -> Row | None:
    own = [row for row in job.rows if row.node == event.node and row.action.op == event.phase]
    if event.action_index is not None:
        own = [row for row in own if row.index == event.action_index]
    # Guessing among several would let a repeated report of one action end another one.
    return own[0] if len(own) == 1 else None


def _on_intent_event(job: JobSnapshot, event: Event) -> Outcome:
    if (event.node, None, event.status) in job.final_events:
        return Repeated()
    if event.status is Status.WAITING and (job.state is JobState.WAITING or job.state in ENDED):
        # What a node cannot tidy up after the verdict must be seen too.
        return Noted()
    if job.state is not JobState.WAITING:
        return Conflict(job.state, f"the job is {job.state}")
    if event.status is Status.SUCCESS:
        after = replace(job, final_events=job.final_events | {(event.node, None, event.status)})
        return Accepted(_state_when_done(after))
    if event.status in FINAL:
        text = event.message or "no message"
        return fail(job, f"{event.node}: {event.status.replace('_', ' ')}: {text}")
    return Accepted(job.state, progress=False)


def _on_success(job: JobSnapshot, row: Row, event: Event) -> Outcome:
    action = row.action
    if action.op == "backup":
        error = _snapshot_error(action, event.payload)
        if error is not None:
            return Malformed(error)
    placements: tuple[Deploy | Retire, ...] = ()
    if action.op == "deactivate":
        placements = (Retire(action.user, row.node, for_good=action.to_node is None),)
    changed = _with(row, event)
    return Accepted(_state_when_done(_replaced(job, changed)), rows=(changed,), placements=placements)


def recorded(event: Event, index: int | None) -> Event:
    """What is kept of an accepted event: the action that it is about, and only a backup's payload.

    Nobody asks for any other payload, and a node must not be able to fill the database.
    """
    means_something = event.phase == "backup" and event.status is Status.SUCCESS
    return replace(event, action_index=index, payload=event.payload if means_something else None)


def _snapshot_error(action: Action, payload: Mapping[str, object] | None) -> str | None:
    snapshots = payload.get("snapshots") if payload is not None else None
    if payload is None or payload.get("user") != action.user or not isinstance(snapshots, Mapping):
        return f"a successful backup must carry the payload {{user,sourceNode,snapshots}} of {action.user}"
    for key in action.migrations:
        snapshot = snapshots.get(key)
        if not isinstance(snapshot, str) or not is_snapshot(snapshot):
            return f"snapshots.{key} must be a snapshot's id in hexadecimal"
    return None


def on_verification(job: JobSnapshot, user: str, status: Status, message: str | None) -> Outcome:
    """What the end of the service's own check does: success is the commit point (contract 7)."""
    row = job.row(PROVIDER_NODE, VERIFY, user)
    if row is None:
        return Malformed(f"no verification of {user} in this job")
    if job.state is not JobState.WAITING or not row.pending:
        return Conflict(job.state, f"the job is {job.state}")
    changed = replace(row, status=status, message=message)
    if status is not Status.SUCCESS:
        return fail(job, _reason(row, status, message), changed=changed)
    target = row.action.to_node
    assert target is not None
    sources = {
        other.action.from_node
        for other in job.rows
        if other.action.user == user and other.action.from_node is not None
    }
    deploy = Deploy(user, target, frozenset(sources - {target}))
    return Accepted(_state_when_done(_replaced(job, changed)), rows=(changed,), placements=(deploy,))


def on_failed_check(job: JobSnapshot, user: str, found: str, outlook: str, newer: str | None) -> Outcome:
    """What one failed attempt of the service's own check does. `outlook` says how it will be repeated.

    It is not repeated if it makes way for a `newer` queued job: a push that fixes the failure should not
    wait for the end.
    """
    row = job.row(PROVIDER_NODE, VERIFY, user)
    if row is None or job.state is not JobState.WAITING or not row.pending:
        return Conflict(job.state, f"the job is {job.state}")
    if newer is not None:
        return on_verification(job, user, Status.FAILED, f"{found}; given up for the newer job {newer}")
    message = f"last: {found}; {outlook}"
    if row.message == message:
        return Repeated()
    return Accepted(job.state, rows=(replace(row, message=message),), progress=False)


def verifiable(job: JobSnapshot) -> tuple[Row, ...]:
    """The service's own rows whose environment its target reports as activated or reloaded."""
    if job.state is not JobState.WAITING:
        return ()
    return tuple(
        row for row in job.rows if row.node == PROVIDER_NODE and row.pending and unmet(job, row) is None
    )


def unmet(job: JobSnapshot, row: Row) -> str | None:
    """What an action must still wait for, or None (contract 7, order)."""
    action = row.action
    for node, op in prerequisites(action, row.node):
        wanted = job.row(node, op, action.user)
        if wanted is not None and wanted.status is not Status.SUCCESS:
            return f"{action.op} of {action.user} must wait for {op} on {node}"
    if action.op == VERIFY:
        for writer in _unfrozen(job, action):
            return f"{action.op} of {action.user} must wait until {writer} has frozen it"
    return None


def _unfrozen(job: JobSnapshot, verify: Action) -> list[str]:
    """The nodes whose deployed copy may still take writes: the commit point must not come before they stop.

    A backup has frozen its source; without one, a node freezes before it says that its `deactivate` waits.
    """
    return [
        row.node
        for row in job.rows
        if row.action.op == "deactivate"
        and row.action.user == verify.user
        and row.action.from_node == row.node
        and row.status is Status.QUEUED
        and job.row(row.node, "backup", verify.user) is None
    ]


def fail(
    job: JobSnapshot, reason: str, *, changed: Row | None = None, pending: Status = Status.FAILED
) -> Accepted:
    """The job fails: what is pending ends as `pending`, with the reason in its message (contract 5)."""
    rows = [] if changed is None else [changed]
    keys = {row.key for row in rows}
    rows += [
        replace(row, status=pending, message=f"not done, the job failed: {reason}")
        for row in job.rows
        if row.pending and row.key not in keys
    ]
    uncertain = {
        Uncertain(row.action.user, row.node): None
        for row in job.rows
        if row.status not in (Status.QUEUED, Status.WAITING) and _is_uncertain(job, row)
    }
    return Accepted(JobState.FAILED, rows=tuple(rows), reason=reason, placements=tuple(uncertain))


def _is_uncertain(job: JobSnapshot, row: Row) -> bool:
    action = row.action
    if action.op == "deactivate":
        return action.to_node is None and row.status is not Status.SUCCESS
    verify = job.row(PROVIDER_NODE, VERIFY, action.user)
    return action.op in ("restore", "activate") and verify is not None and verify.status is not Status.SUCCESS


def _state_when_done(job: JobSnapshot) -> JobState:
    done = all(row.status is Status.SUCCESS for row in job.rows) and job.nodes <= job.finished
    return JobState.SUCCEEDED if done else job.state


def _with(row: Row, event: Event) -> Row:
    begun = row.begun or event.status is Status.RUNNING
    return replace(row, status=event.status, message=event.message, begun=begun)


def _replaced(job: JobSnapshot, changed: Row) -> JobSnapshot:
    return replace(job, rows=tuple(changed if row.key == changed.key else row for row in job.rows))


def _reason(row: Row, status: Status, message: str | None) -> str:
    action = row.action
    verb = "timed out" if status is Status.TIMED_OUT else "failed"
    return f"{row.node}: {action.op} of {action.user} {verb}: {message or 'no message'}"
