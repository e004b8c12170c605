"""The rules of what the service's memory may lose: ended jobs and old deliveries (contract 5, memory).

Like the rules in `jobs`: functions of recorded state and of a moment that the caller names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from hostenv_core.states import ENDED, JobState

JOBS_KEPT = 20
"""So many jobs of a project stay, the latest, however old they are."""


@dataclass(frozen=True)
class Retention:
    """For how many days jobs are kept after their end, and deliveries after they came."""

    jobs: int
    deliveries: int

    def jobs_before(self, now: datetime) -> datetime:
        """Jobs that ended earlier may go."""
        return now - timedelta(days=self.jobs)

    def deliveries_before(self, now: datetime) -> datetime:
        """Deliveries that came earlier may go."""
        return now - timedelta(days=self.deliveries)


@dataclass(frozen=True)
class OpenJobs:
    """Which jobs a node had in its journal when it was heard last."""

    heard_at: datetime
    jobs: frozenset[str]


@dataclass(frozen=True)
class Past:
    """A job as far as its removal is concerned.

    `newer` is how many newer jobs of its project there are, `nodes` are those that have an intent. `named` is
    whether a deployment or a delivery names it, `superseded` are the jobs in whose place it came.
    """

    job_id: str
    state: JobState
    finished_at: datetime | None
    newer: int
    nodes: frozenset[str] = frozenset()
    named: bool = False
    superseded: frozenset[str] = frozenset()


def removable(
    now: datetime, retention: Retention, past: Iterable[Past], heard: Mapping[str, OpenJobs | None]
) -> list[str]:
    """Which of these jobs may go now, in their order; what one superseded goes with it or has gone before.

    `heard` has every node of the provider, with None for one that never said which jobs it has open. A node
    needs a job's verdict until it has closed it, however long it is away; one that was removed does not.
    """
    gone: dict[str, None] = {}
    for job in past:
        if (
            job.state in ENDED
            and job.finished_at is not None
            and job.finished_at < retention.jobs_before(now)
            and job.newer >= JOBS_KEPT
            and not job.named
            and job.superseded <= gone.keys()
            and not any(node in heard and _has_open(heard[node], job) for node in job.nodes)
        ):
            gone[job.job_id] = None
    return list(gone)


def _has_open(heard: OpenJobs | None, job: Past) -> bool:
    # What it said before the end tells nothing: an intent may have been on its way to it.
    return (
        heard is None
        or job.job_id in heard.jobs
        or (job.finished_at is not None and heard.heard_at <= job.finished_at)
    )
