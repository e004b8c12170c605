"""What an unfinished job waits for, in one line: a function of recorded state, like the rules in `jobs`."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hostenv_core.intents import VERIFY
from hostenv_core.names import PROVIDER_NODE
from hostenv_core.states import ENDED, JobState, Status

from hostenv_provider.rules.jobs import JobSnapshot, Row, unmet
from hostenv_provider.rules.queue import Unfinished
from hostenv_provider.rules.stored import Job, StoredAction


@dataclass(frozen=True)
class Situation:
    """A job and what is around it.

    `heard` are the nodes that have posted anything for this job, `notes` what nodes say about their part of
    it, `ahead` the earlier job that a node still works on, by node (contract 7: one at a time, in commit
    order), `commits` what each node must see in its own repository, `others` the other jobs that have not
    ended, in the order in which they were accepted.
    """

    job: Job
    snapshot: JobSnapshot
    actions: Sequence[StoredAction]
    heard: Collection[str]
    notes: Mapping[str, str]
    ahead: Mapping[str, str]
    commits: Mapping[str, str]
    others: Sequence[Unfinished]


def waits_for(situation: Situation) -> str | None:
    """What must happen next for the job to go on, in words; None once it has ended."""
    job = situation.job
    if job.state in ENDED:
        return None
    if job.state is JobState.QUEUED:
        return _queued(situation)
    if job.state is JobState.RUNNING:
        return f"stage {job.stage or 'start'}, running since {_moment(job.progress_at)}"
    if not job.pushed:
        return f"the push of its commit {_short(job.commit_sha)}"
    return "; ".join(list(_waiting(situation)) or _blocked(situation.snapshot))


def _queued(situation: Situation) -> str:
    own = situation.job.request.project
    for other in situation.others:
        if other.request.project == own and other.holds_up:
            return f"job {other.job} of the same project to end"
    if situation.job.obstacle is not None:
        return f"the next attempt at {_moment(situation.job.not_before)}, since {situation.job.obstacle}"
    for other in situation.others:
        if other.state is JobState.RUNNING:
            return f"job {other.job} of {other.request.project} to be planned"
    return "the service to plan it"


def _waiting(situation: Situation) -> Iterator[str]:
    """The first thing that each node, and the service, has to do and that nothing else holds up."""
    snapshot, heard, ahead = situation.snapshot, situation.heard, situation.ahead
    checked = _checked(snapshot)
    for node in (*sorted(snapshot.nodes), PROVIDER_NODE):
        records = [each for each in situation.actions if each.row.node == node and each.row.pending]
        said = f", which says: {situation.notes[node]}" if node in situation.notes else ""
        if node in ahead:
            yield f"{node} to finish job {ahead[node]}, which comes first there"
        elif node not in heard and node != PROVIDER_NODE:
            yield (
                f"{node} to see commit {_short(situation.commits.get(node))}"
                f" (nothing heard from it since {_moment(situation.job.waiting_at)})"
            )
        elif node in checked:
            continue
        elif records:
            first = records[0]
            if unmet(snapshot, first.row) is None:
                yield _action(first) + said
        elif node not in snapshot.finished and node != PROVIDER_NODE:
            yield f"the closing report of {node}{said}"


def _checked(snapshot: JobSnapshot) -> set[str | None]:
    """The nodes that continue with their list only after the service's check of what they activated."""
    return {
        row.action.to_node
        for row in snapshot.rows
        if row.action.op in ("activate", "reload")
        and row.status is Status.SUCCESS
        and (verify := snapshot.row(PROVIDER_NODE, VERIFY, row.action.user)) is not None
        and verify.pending
    }


def _blocked(snapshot: JobSnapshot) -> list[str]:
    """What nobody works on is held up only by a source that has not reported its freeze yet."""
    return [text for row in snapshot.rows if row.pending and (text := unmet(snapshot, row)) is not None][-1:]


def _action(record: StoredAction) -> str:
    row = record.row
    text = f"{row.action.op} of {row.action.user} on {_place(row)}"
    running = row.status is Status.RUNNING
    text += f" (running since {_moment(record.started_at)})" if running else " to begin"
    return f"{text}: {row.message}" if row.message else text


def _place(row: Row) -> str:
    return row.action.to_node or row.node if row.node == PROVIDER_NODE else row.node


def _moment(text: str | None) -> str:
    return f"{(text or '')[:19]}Z"


def _short(sha: str | None) -> str:
    return (sha or "")[:12]
