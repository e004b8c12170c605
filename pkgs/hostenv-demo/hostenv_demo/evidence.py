"""What a run leaves in `evidence/`: values, their files, and how they are read back.

Times are seconds since 1970; the provider's are ISO-8601 in its own answers.
"""

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from hostenv_lab.log import Event

RequestKind = Literal["read", "write"]
# refused: 503 with Retry-After; unanswered: every node closed the connection; failed: any other wrong answer
Outcome = Literal["ok", "refused", "unanswered", "failed"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

EVENTS, REQUESTS, ACTIONS = "events.jsonl", "requests.jsonl", "actions.jsonl"
JOBS, RUN, VERSIONS, NOTES = "jobs.json", "run.json", "versions.json", "notes.json"
# written by tests/script.py
CHECKSUMS = {"before": "checksums-before.json", "after": "checksums-after.json"}
# in the work folder
FOLDER = "evidence"
REPORT = "report.html"


@dataclass(frozen=True)
class Request:
    """A visitor's request. `status` is HTTP's, 0 without an answer; `note` is what a write brought."""

    time: float
    kind: RequestKind
    node: str | None
    status: int
    outcome: Outcome
    seconds: float
    note: str | None = None


@dataclass(frozen=True)
class Action:
    """An action row of a job; a time is None while it has not come."""

    node: str
    op: str
    user: str
    status: str
    message: str | None
    started: float | None
    finished: float | None


@dataclass(frozen=True)
class Job:
    """A job of the provider, with its actions in the provider's order."""

    job_id: str
    state: str
    reason: str | None
    commit: str | None
    created: float
    started: float | None
    waiting: float | None
    finished: float | None
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Stage:
    """A stage of the script; `seconds` is None if it did not end well."""

    name: str
    began: float
    seconds: float | None


@dataclass(frozen=True)
class Checksums:
    """What the environment held: a checksum for each table, a hash for each public file."""

    tables: Mapping[str, str]
    files: Mapping[str, str]


@dataclass(frozen=True)
class Notes:
    """Visitors' notes: those that the site accepted, and which of them node-b does not have."""

    accepted: int
    lost: tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """The run itself. `error` is None if the script passed; `parts` names machines, comin and Drupal."""

    began: float
    ended: float
    error: str | None
    parts: Mapping[str, str]


@dataclass(frozen=True)
class Evidence:
    """All that is known of a run; what never came is None or empty."""

    setting: Setting
    stages: tuple[Stage, ...] = ()
    jobs: tuple[Job, ...] = ()
    requests: tuple[Request, ...] = ()
    before: Checksums | None = None
    after: Checksums | None = None
    notes: Notes | None = None
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class Recorder:
    """Appends what happens, as it happens, to the JSON lines of an evidence folder; for any thread."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = threading.Lock()

    def event(self, event: Event) -> None:
        """Something that the lab or the script says."""
        self._append(EVENTS, {"time": time.time(), **asdict(event)})

    def request(self, request: Request) -> None:
        """A visitor's request."""
        self._append(REQUESTS, asdict(request))

    def action(self, job_id: str, row: Mapping[str, object]) -> None:
        """An action row that has changed."""
        self._append(ACTIONS, {"time": time.time(), "jobId": job_id, **row})

    def document(self, name: str, value: object) -> None:
        """One whole document."""
        (self._folder / name).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")

    def _append(self, name: str, entry: Mapping[str, object]) -> None:
        with self._lock, (self._folder / name).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")


def load(folder: Path) -> Evidence:
    """Read an evidence folder back. Only `run.json` must be there."""
    setting = Setting(**_document(folder / RUN, None))
    checksums = {
        when: Checksums(**found) if (found := _document(folder / name, None)) else None
        for when, name in CHECKSUMS.items()
    }
    notes = _document(folder / NOTES, None)
    return Evidence(
        setting=setting,
        stages=tuple(_stages(_lines(folder / EVENTS))),
        jobs=tuple(sorted(map(parse_job, _document(folder / JOBS, [])), key=lambda job: job.created)),
        requests=load_requests(folder),
        before=checksums["before"],
        after=checksums["after"],
        notes=Notes(notes["accepted"], tuple(notes["lost"])) if notes else None,
        versions=_document(folder / VERSIONS, {}),
    )


def load_requests(folder: Path) -> tuple[Request, ...]:
    """The visitors' requests so far."""
    return tuple(Request(**line) for line in _lines(folder / REQUESTS))


def parse_job(job: Mapping[str, object]) -> Job:
    """A job as the service shows it (contract 4)."""
    created = _seconds(job["createdAt"])
    actions = job["actions"]
    assert created is not None
    assert isinstance(actions, list)
    return Job(
        job_id=str(job["jobId"]),
        state=str(job["state"]),
        reason=_text(job["reason"]),
        commit=_text(job["commitSha"]),
        created=created,
        started=_seconds(job["startedAt"]),
        waiting=_seconds(job["waitingAt"]),
        finished=_seconds(job["finishedAt"]),
        actions=tuple(
            Action(
                node=row["node"],
                op=row["op"],
                user=row["user"],
                status=row["status"],
                message=row["message"],
                started=_seconds(row["startedAt"]),
                finished=_seconds(row["finishedAt"]),
            )
            for row in actions
        ),
    )


def lost_notes(requests: Iterable[Request], found: frozenset[str]) -> Notes:
    """Compares the notes that were accepted with those that are there."""
    accepted = [each.note for each in requests if each.kind == "write" and each.outcome == "ok" and each.note]
    return Notes(len(accepted), tuple(note for note in accepted if note not in found))


def _stages(events: Iterable[Mapping[str, Any]]) -> Iterator[Stage]:
    begun: dict[str, float] = {}
    for event in events:
        name, moment = event["text"], event["time"]
        if event["kind"] == "stage":
            begun[name] = moment
        elif event["kind"] == "stage-end":
            yield Stage(name, begun.pop(name, moment - event["seconds"]), event["seconds"])
    for name, moment in begun.items():
        yield Stage(name, moment, None)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def _document(path: Path, default: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else default


def _seconds(moment: object) -> float | None:
    return datetime.fromisoformat(moment).timestamp() if isinstance(moment, str) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
