"""What the evidence of a run amounts to: a verdict and a few numbers."""

from dataclasses import dataclass

from hostenv_demo.evidence import Action, Checksums, Evidence, Job, Request


@dataclass(frozen=True)
class Same:
    """How many of the things that were there before are there after, unchanged."""

    same: int
    total: int


@dataclass(frozen=True)
class Summary:
    """The verdict. `move` is the job that moved the site, `commit_point` when it took effect (contract 7).

    `refused` is the time between the first and the last write that was refused, and `unread` the number of
    reads that got no right page.
    """

    passed: bool
    headline: str
    explanation: str
    move: Job | None
    commit_point: float | None
    refused: tuple[float, float] | None
    reads: int
    unread: int
    tables: Same | None
    files: Same | None


def summarise(evidence: Evidence) -> Summary:
    """Judge a run. It passed if the script did and every accepted note is known to be there."""
    lost = evidence.notes.lost if evidence.notes else ()
    passed = evidence.setting.error is None and not lost and not _unknown_notes(evidence)
    move = moving_job(evidence.jobs)
    commit_point = _commit_point(move)
    reads = [each for each in evidence.requests if each.kind == "read"]
    refused = [each.time for each in evidence.requests if each.kind == "write" and each.outcome == "refused"]
    headline, explanation = _words(evidence, passed, commit_point is not None, len(lost))
    return Summary(
        passed=passed,
        headline=headline,
        explanation=explanation,
        move=move,
        commit_point=commit_point,
        refused=(min(refused), max(refused)) if refused else None,
        reads=len(reads),
        unread=sum(each.outcome != "ok" for each in reads),
        tables=_compare(evidence, "tables"),
        files=_compare(evidence, "files"),
    )


def moving_job(jobs: tuple[Job, ...]) -> Job | None:
    """The newest job that brings data from one node to another."""
    return next((job for job in reversed(jobs) if any(each.op == "restore" for each in job.actions)), None)


def failed_action(jobs: tuple[Job, ...]) -> Action | None:
    """The first action that went wrong in the newest failed job."""
    rows = (row for job in reversed(jobs) if job.state == "failed" for row in job.actions)
    return next((row for row in rows if row.status in ("failed", "timed_out")), None)


def per_bucket(
    requests: tuple[Request, ...], start: float, seconds: float, count: int
) -> list[list[Request]]:
    """The requests in `count` spans of `seconds` each, from `start`; others are left out."""
    buckets: list[list[Request]] = [[] for _ in range(count)]
    for request in requests:
        index = int((request.time - start) // seconds)
        if 0 <= index < count:
            buckets[index].append(request)
    return buckets


def _commit_point(job: Job | None) -> float | None:
    verified = (
        (row.finished for row in job.actions if row.op == "verify" and row.status == "success") if job else ()
    )
    return next((moment for moment in verified if moment is not None), None)


def _unknown_notes(evidence: Evidence) -> int:
    """How many accepted notes nobody could look for."""
    if evidence.notes is not None:
        return 0
    return sum(each.kind == "write" and each.outcome == "ok" for each in evidence.requests)


def _compare(evidence: Evidence, what: str) -> Same | None:
    if evidence.before is None or evidence.after is None:
        return None
    before, after = _part(evidence.before, what), _part(evidence.after, what)
    return Same(sum(after.get(name) == value for name, value in before.items()), len({*before, *after}))


def _part(checksums: Checksums, what: str) -> dict[str, str]:
    return dict(checksums.tables if what == "tables" else checksums.files)


def _words(evidence: Evidence, passed: bool, moved: bool, lost: int) -> tuple[str, str]:
    if passed:
        return (
            "The site moved from node-a to node-b",
            "node-b serves the marker that was written on node-a, the data is the same to the byte,"
            " and node-a has let go of the site.",
        )
    if lost:
        return "Notes were lost", f"{lost} notes that the site had accepted are not on node-b."
    if evidence.setting.error is None:
        return (
            "Notes could not be compared",
            f"The site had accepted {_unknown_notes(evidence)}, and node-b's database did not say whether it"
            " has them.",
        )
    broken = failed_action(evidence.jobs)
    if broken:
        where = f"{broken.op} on {broken.node} {broken.status.replace('_', ' ')}"
        return "The site did not move", f"{where}: {broken.message or 'no message'}"
    stage = next((stage.name for stage in evidence.stages if stage.seconds is None), None)
    headline = "The run failed after the move" if moved else "The run failed"
    return (
        headline,
        f"The stage that did not end well: {stage}" if stage else "It did not reach its first stage.",
    )
