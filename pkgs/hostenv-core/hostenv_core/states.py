"""The states of jobs and of their actions, and which of them are final (contract 4 and 5)."""

from enum import StrEnum


class JobState(StrEnum):
    """The state of a job (contract 5)."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class Status(StrEnum):
    """Status of an action row and of an event (contract 4)."""

    QUEUED = "queued"
    WAITING = "waiting"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.SUPERSEDED})
"""The verdicts: nothing follows them."""
FINAL = frozenset({Status.SUCCESS, Status.FAILED, Status.TIMED_OUT})
"""The final statuses of an action."""
