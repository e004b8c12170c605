"""What this node has taken on, and how far it got with it: a job that is not closed. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from hostenv_core.intents import Action
from hostenv_core.json_value import Value

T = TypeVar("T")


class Progress(StrEnum):
    """How far one action got on this node."""

    NEW = "new"
    STARTED = "started"
    SUCCESS = "success"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True)
class ActionRecord:
    """One action and its progress.

    `announced`: the provider knows that it is blocked. `reported`: the provider has acknowledged its end.
    `settled`: it passed its commit point or was undone, and no verdict asks anything more of it.
    `trouble`: why that could not be done when it was tried last.
    """

    action: Action
    progress: Progress = Progress.NEW
    message: str | None = None
    payload: Mapping[str, object] | None = None
    announced: bool = False
    reported: bool = False
    settled: bool = False
    trouble: str | None = None

    @property
    def begun(self) -> bool:
        """Whether work of it may have left traces on this node.

        The source of a move is frozen while its `deactivate` still waits.
        """
        waits = self.action.op == "deactivate" and self.action.to_node is not None
        return waits or self.progress is not Progress.NEW


@dataclass(frozen=True)
class JobJournal:
    """One node's part of one job; `order` sorts jobs as their commits follow each other (contract 7).

    `shown` is what the provider shows of its troubles.
    """

    job_id: str
    commit_sha: str
    node: str
    order: int
    actions: tuple[ActionRecord, ...]
    finished: bool = False
    shown: str | None = None

    @property
    def users(self) -> tuple[str, ...]:
        """The environments that it names, each once, in order."""
        return tuple(dict.fromkeys(record.action.user for record in self.actions))

    @property
    def trouble(self) -> str | None:
        """What could not be done when it was tried last, for which environments, and why."""
        troubles = {record.trouble: None for record in self.actions if record.trouble is not None}
        return "; ".join(troubles) or None

    @classmethod
    def opened(
        cls, job_id: str, commit_sha: str, node: str, order: int, actions: tuple[Action, ...]
    ) -> "JobJournal":
        """A job of which nothing was done yet."""
        return cls(job_id, commit_sha, node, order, tuple(ActionRecord(action) for action in actions))

    def announced(self, index: int) -> "JobJournal":
        """The provider knows that the action is blocked."""
        return self._with(index, lambda record: replace(record, announced=True))

    def started(self, index: int) -> "JobJournal":
        """Its work is about to begin, or to begin again after a crash."""
        return self._with(index, lambda record: replace(record, progress=Progress.STARTED))

    def told(self, index: int, message: str) -> "JobJournal":
        """Its work has something to say to people, which stays when it succeeds."""
        return self._with(index, lambda record: replace(record, message=message))

    def ended(
        self,
        index: int,
        progress: Progress,
        message: str | None = None,
        payload: Mapping[str, object] | None = None,
    ) -> "JobJournal":
        """Its work ended; `payload` goes to the provider with the report."""
        return self._with(
            index, lambda record: replace(record, progress=progress, message=message, payload=payload)
        )

    def reported(self, index: int) -> "JobJournal":
        """The provider has acknowledged how it ended."""
        return self._with(index, lambda record: replace(record, reported=True))

    def settled(self, user: str) -> "JobJournal":
        """No verdict asks anything more of what was begun for this environment."""
        return self._of_user(user, lambda record: replace(record, settled=True, trouble=None))

    def troubled(self, user: str, trouble: str) -> "JobJournal":
        """What was begun for this environment could not be settled; it is tried again."""
        return self._of_user(user, lambda record: replace(record, trouble=trouble))

    def showing(self, trouble: str | None) -> "JobJournal":
        """The provider has acknowledged what cannot be done, or with None that all can."""
        return replace(self, shown=trouble)

    def done(self) -> "JobJournal":
        """The provider has acknowledged the end of the whole intent."""
        return replace(self, finished=True)

    def to_json(self) -> dict[str, object]:
        """The content of the journal's file."""
        return {
            "jobId": self.job_id,
            "commitSha": self.commit_sha,
            "node": self.node,
            "order": self.order,
            "finished": self.finished,
            "shown": self.shown,
            "actions": [
                {
                    **record.action.to_json(),
                    "progress": record.progress.value,
                    "message": record.message,
                    "payload": record.payload,
                    "announced": record.announced,
                    "reported": record.reported,
                    "settled": record.settled,
                    "trouble": record.trouble,
                }
                for record in self.actions
            ],
        }

    @classmethod
    def from_json(cls, value: Value) -> "JobJournal":
        """Raises HostenvError when `value` is no journal."""
        shown = value.optional("shown")
        return cls(
            job_id=value.member("jobId").text(),
            commit_sha=value.member("commitSha").text(),
            node=value.member("node").text(),
            order=value.member("order").integer(0),
            finished=value.flag("finished"),
            shown=None if shown is None else shown.text(),
            actions=tuple(_record(each) for each in value.member("actions").items()),
        )

    def _with(self, index: int, change: Callable[[ActionRecord], ActionRecord]) -> "JobJournal":
        records = list(self.actions)
        records[index] = change(records[index])
        return replace(self, actions=tuple(records))

    def _of_user(self, user: str, change: Callable[[ActionRecord], ActionRecord]) -> "JobJournal":
        return replace(
            self,
            actions=tuple(
                change(record) if record.action.user == user and record.begun else record
                for record in self.actions
            ),
        )


def _record(value: Value) -> ActionRecord:
    message, payload, trouble = (value.optional(key) for key in ("message", "payload", "trouble"))
    return ActionRecord(
        action=Action.from_json(value),
        progress=Progress(value.member("progress").choice(tuple(Progress))),
        message=None if message is None else message.text(),
        payload=None if payload is None else payload.mapping(),
        announced=value.flag("announced"),
        reported=value.flag("reported"),
        settled=value.flag("settled"),
        trouble=None if trouble is None else trouble.text(),
    )
