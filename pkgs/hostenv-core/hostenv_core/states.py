"""Where jobs and their actions stand, and which of these states are ends (contract 4 and 5)."""

from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands (contract 5)."""

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
"""How an action ends."""
