"""Looks at the provider's jobs while the run goes on: for the evidence, and for people who wait."""

import threading
from dataclasses import dataclass

from hostenv_core.errors import HostenvError
from hostenv_core.states import ENDED
from hostenv_lab.log import Event

from hostenv_demo.evidence import Recorder
from hostenv_demo.provider_service import Document, ProviderService
from hostenv_demo.stages import STAGES

_PERIOD = 0.5


@dataclass(frozen=True)
class Progress:
    """How far something of known length is."""

    what: str
    done: int
    total: int


def progress_of(job: Document) -> Progress | None:
    """How many of a job's actions have ended well; None once the job has ended, or without actions."""
    actions = job["actions"]
    assert isinstance(actions, list)
    if job["state"] in ENDED or not actions:
        return None
    done = sum(action["status"] == "success" for action in actions)
    running = (f"{each['node']} {each['op']}" for each in actions if each["status"] == "running")
    now = next(running, "waiting for the nodes")
    return Progress(now, done, len(actions))


class StepsWatch:
    """Counts the steps of a stage, where it is known how many there are. It is told of every event."""

    def __init__(self) -> None:
        self._total: int | None = None
        self._done = 0
        self._now = ""

    def __call__(self, event: Event) -> None:
        """Something began or ended."""
        match event.kind:
            case "stage":
                stage = STAGES.get(event.text)
                self._total = stage.steps if stage else None
                self._done, self._now = 0, event.text
            case "stage-end":
                self._total = None
            case "begin":
                self._now = event.text
            case "end":
                self._done += 1

    def progress(self) -> Progress | None:
        """How far the stage is."""
        total = self._total
        return None if total is None else Progress(self._now, min(self._done, total), total)


class JobsWatch:
    """Records each action row as it changes. A context manager; `progress` may be asked at any time."""

    def __init__(self, service: ProviderService, recorder: Recorder) -> None:
        self._service = service
        self._recorder = recorder
        self._seen: dict[tuple[str, str, str, str], str] = {}
        self._newest: Document | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="jobs", daemon=True)

    def __enter__(self) -> "JobsWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def progress(self) -> Progress | None:
        """How far the newest job is."""
        return progress_of(self._newest) if self._newest else None

    def _watch(self) -> None:
        while not self._closed.wait(_PERIOD):
            try:
                jobs = self._service.jobs()
            except HostenvError:
                # it has not been started yet, or its machine is off
                continue
            self._newest = jobs[0] if jobs else None
            for job in reversed(jobs):
                self._record(job)

    def _record(self, job: Document) -> None:
        job_id, actions = str(job["jobId"]), job["actions"]
        assert isinstance(actions, list)
        for row in actions:
            key = (job_id, row["node"], row["op"], row["user"])
            if self._seen.get(key) != row["status"]:
                self._seen[key] = row["status"]
                self._recorder.action(job_id, row)
