"""The rules among jobs: which runs next, when, what it supersedes and what it inherits (contract 5).

Like the rules of one job in `jobs`: functions of recorded state.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hostenv_core.states import JobState

from hostenv_provider.rules.jobs import Request

FETCH_FOR = 1800.0
"""Seconds for which a job tries to fetch its project before it fails (contract 5, sources)."""

_FIRST_PAUSE = 10.0
_LONGEST_PAUSE = 300.0


def merge(older: Request, newer: Request) -> Request:
    """What a job must do that supersedes another one: both requests, the newer one last.

    A placement brings its own migration options, which replace the older ones; a push of a reference undoes
    an older roll-back of its environments.
    """
    replaced = frozenset(newer.placements)
    return Request(
        project=newer.project,
        refs=None if older.refs is None or newer.refs is None else older.refs | newer.refs,
        placements={**older.placements, **newer.placements},
        migration_sources={
            **{user: node for user, node in older.migration_sources.items() if user not in replaced},
            **newer.migration_sources,
        },
        skip_migrations=(older.skip_migrations - replaced) | newer.skip_migrations,
        accept_loss=(older.accept_loss - replaced) | newer.accept_loss,
        rollbacks={
            **{user: git_ref for user, git_ref in older.rollbacks.items() if not newer.moves(git_ref)},
            **newer.rollbacks,
        },
    )


@dataclass(frozen=True)
class Unfinished:
    """A job that has not ended, for the choice of the next one; `number` grows with every job.

    A `postponed` one stays queued until a later moment.
    """

    job: str
    number: int
    request: Request
    state: JobState
    untouched: bool = False
    postponed: bool = False

    @property
    def holds_up(self) -> bool:
        """Whether a queued job of its project must wait for its end."""
        return self.state is not JobState.QUEUED and not (self.state is JobState.WAITING and self.untouched)


@dataclass(frozen=True)
class Choice:
    """The job to run next, with the request it has after what it supersedes."""

    job: str
    request: Request
    superseded: tuple[str, ...] = ()


def coalesce(unfinished: Iterable[Unfinished], job: str) -> Choice:
    """What the newest queued job of a project supersedes and inherits: the older queued ones (contract 5)."""
    jobs = sorted(unfinished, key=lambda item: item.number)
    newest = next(item for item in jobs if item.job == job)
    older = [
        item
        for item in jobs
        if item.state is JobState.QUEUED
        and item.request.project == newest.request.project
        and item.number < newest.number
    ]
    return _succeed(newest, older)


def newer_push(unfinished: Iterable[Unfinished], job: str) -> str | None:
    """The queued job of the same project that waits for this one to end."""
    jobs = list(unfinished)
    project = next((item.request.project for item in jobs if item.job == job), None)
    queued = (item.job for item in jobs if item.state is JobState.QUEUED and item.request.project == project)
    return next(queued, None)


def pause(attempts: int, failing_for: float) -> float | None:
    """Seconds until a job tries again to fetch its project, after so many attempts in so many seconds.

    None means that it fails now.
    """
    if failing_for >= FETCH_FOR:
        return None
    return min(_FIRST_PAUSE * 2.0 ** (attempts - 1), _LONGEST_PAUSE)


def next_job(unfinished: Sequence[Unfinished]) -> Choice | None:
    """The oldest queued job that may leave the queue.

    Per project one job is out of the queue at a time. A waiting job whose rows are all still queued is
    superseded; behind any other the queued one waits.
    """
    for item in sorted(unfinished, key=lambda item: item.number):
        if item.state is not JobState.QUEUED or item.postponed:
            continue
        before = [
            other
            for other in unfinished
            if other.request.project == item.request.project and other.state is not JobState.QUEUED
        ]
        if not any(other.holds_up for other in before):
            return _succeed(item, before)
    return None


def _succeed(job: Unfinished, older: Sequence[Unfinished]) -> Choice:
    request = job.request
    for item in sorted(older, key=lambda item: item.number, reverse=True):
        request = merge(item.request, request)
    return Choice(job.job, request, tuple(item.job for item in older))
