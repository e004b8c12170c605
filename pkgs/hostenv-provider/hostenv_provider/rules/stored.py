"""What the store keeps, as values, with the JSON forms of contract 4."""

from collections.abc import Mapping
from dataclasses import dataclass

from hostenv_core.intents import Action
from hostenv_core.states import JobState

from hostenv_provider.plan.plan import Environment
from hostenv_provider.rules.jobs import Request, Row


@dataclass(frozen=True)
class StoredAction:
    """An action row with its times, which are ISO-8601 UTC or None."""

    row: Row
    started_at: str | None
    finished_at: str | None
    updated_at: str

    def to_json(self) -> dict[str, object]:
        """The action object of contract 4."""
        return {
            "node": self.row.node,
            "actionIndex": self.row.index,
            "op": self.row.action.op,
            "user": self.row.action.user,
            "status": self.row.status,
            "message": self.row.message,
            "startedAt": self.started_at,
            "finishedAt": self.finished_at,
            "updatedAt": self.updated_at,
        }


@dataclass(frozen=True)
class StoredEvent:
    """An event that was accepted from a node, or that the service wrote itself."""

    event_id: int
    node: str
    status: str
    phase: str | None
    message: str | None
    created_at: str

    def to_json(self) -> dict[str, object]:
        """The status object of contract 4."""
        return {
            "eventId": self.event_id,
            "node": self.node,
            "status": self.status,
            "phase": self.phase,
            "message": self.message,
            "createdAt": self.created_at,
        }


@dataclass(frozen=True)
class Job:
    """A job; `stage` is the last one that the worker began, `commit_sha` the commit with its intents.

    `progress_at` is when it last went on, `pushed` whether its commit is known to be in the remote.
    `obstacle` is why it could not fetch its project or had no room, and `not_before` when it tries again.
    """

    job_id: str
    request: Request
    state: JobState
    stage: str | None
    commit_sha: str | None
    reason: str | None
    superseded_by: str | None
    created_at: str
    started_at: str | None
    waiting_at: str | None
    progress_at: str
    finished_at: str | None
    pushed: bool
    obstacle: str | None
    not_before: str | None

    def to_json(
        self, actions: list[StoredAction], notes: list[StoredEvent], waits_for: str | None
    ) -> dict[str, object]:
        """The job as `/api/jobs` shows it, with what its nodes say about it and what `waits` says of it."""
        return {
            "jobId": self.job_id,
            "project": self.request.project,
            "request": self.request.to_json(),
            "state": self.state,
            "waitsFor": waits_for,
            "stage": self.stage,
            "commitSha": self.commit_sha,
            "reason": self.reason,
            "supersededBy": self.superseded_by,
            "createdAt": self.created_at,
            "startedAt": self.started_at,
            "waitingAt": self.waiting_at,
            "finishedAt": self.finished_at,
            "actions": [record.to_json() for record in actions],
            "notes": [
                {"node": note.node, "message": note.message, "createdAt": note.created_at} for note in notes
            ],
        }


@dataclass(frozen=True)
class NodeCommit:
    """A commit of a node's own repository, and the text of the slice to which it points."""

    sha: str
    slice: str


@dataclass(frozen=True)
class WaitingIntent:
    """A node's intent of a job that still waits for this node.

    `commit_sha` is the commit of the node's own repository, `provider_commit` the job's.
    """

    job_id: str
    commit_sha: str
    intent: Mapping[str, object]
    provider_commit: str

    def to_json(self, commit: str) -> dict[str, object]:
        """An element of `intents` of contract 4, at the one of its commits that the node follows."""
        return {"jobId": self.job_id, "commitSha": commit, "intent": self.intent}


@dataclass(frozen=True)
class Target:
    """What an environment will be once a job deployed it; `address` is that of its node."""

    address: str
    environment: Environment

    @property
    def user(self) -> str:
        """The environment's user name."""
        return self.environment.user_name


@dataclass(frozen=True)
class Prepared:
    """What the worker made of a request: a commit, the nodes' actions, the service's own, their targets.

    `commits` are those of the acting nodes' own repositories.
    """

    commit_sha: str
    actions: Mapping[str, list[Action]]
    verifications: list[Action]
    targets: list[Target]
    commits: Mapping[str, NodeCommit]


@dataclass(frozen=True)
class Verification:
    """A check of an environment that the service must make now."""

    job_id: str
    user: str


@dataclass(frozen=True)
class Delivery:
    """A webhook delivery: the hash it was sent to and the sender's id of it (contract 4)."""

    project_hash: str
    delivery_id: str


@dataclass(frozen=True)
class Enqueued:
    """The job of a request; not `created` if an earlier delivery of the same request made it."""

    job_id: str
    created: bool
