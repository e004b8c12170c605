"""What goes on with the jobs of a node, for its operator: a function of their journals. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from hostenv_core.intents import Action, prerequisites
from hostenv_core.names import PROVIDER_NODE

from hostenv_node.jobs.decide import predecessors
from hostenv_node.jobs.journal import ActionRecord, JobJournal, Progress


@dataclass(frozen=True)
class OpenJob:
    """A job that is not closed: the action it is at, and what it does or waits for.

    `op` and `user` are None when all actions are done.
    """

    job: str
    commit: str
    op: str | None
    user: str | None
    doing: str


def overview(journals: Sequence[JobJournal]) -> list[OpenJob]:
    """All jobs that are open on this node, in order."""
    return [_open_job(journal, predecessors(journal, journals)) for journal in journals]


def _open_job(journal: JobJournal, before: Sequence[JobJournal]) -> OpenJob:
    record = next((record for record in journal.actions if not _is_done(record)), None)
    return OpenJob(
        journal.job_id,
        journal.commit_sha,
        None if record is None else record.action.op,
        None if record is None else record.action.user,
        _doing(journal, record, before),
    )


def _is_done(record: ActionRecord) -> bool:
    live = record.settled or record.action.op not in ("activate", "reload")
    return record.progress is Progress.SUCCESS and record.reported and live


def _doing(journal: JobJournal, record: ActionRecord | None, before: Sequence[JobJournal]) -> str:
    said = journal.trouble or journal.shown
    if said is not None:
        return said
    if record is None:
        return "waits for the job's verdict" if journal.finished else "tells the provider that all is done"
    action = record.action
    match record.progress:
        case Progress.NEW if before:
            return f"waits for what job {before[0].job_id} left to do here"
        case Progress.NEW if not record.announced:
            return "is about to begin"
        case Progress.NEW:
            return _waits_for(action, journal.node)
        case Progress.STARTED:
            return "is under way"
    if not record.reported:
        return f"tells the provider how it ended: {record.progress.value}"
    if record.progress is Progress.SUCCESS:
        return "waits for the provider's check"
    return f"has ended ({record.progress.value}), waits for the job's verdict"


def _waits_for(action: Action, node: str) -> str:
    for place, op in prerequisites(action, node):
        if place not in (node, PROVIDER_NODE):
            return f"waits for the {op} on {place}"
    return f"waits for the provider's check of {action.to_node}"
