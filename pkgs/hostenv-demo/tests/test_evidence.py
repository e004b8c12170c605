import json
from dataclasses import asdict
from pathlib import Path

import runs
from hostenv_demo import evidence
from hostenv_demo.collect import Collector
from hostenv_demo.evidence import Notes, Recorder
from hostenv_demo.provider_service import ProviderService
from hostenv_lab.log import Event

JOB = {
    "jobId": "11111111-aaaa",
    "state": "succeeded",
    "reason": None,
    "commitSha": "c0ffee",
    "createdAt": "1970-01-12T13:46:40.500Z",
    "startedAt": None,
    "waitingAt": None,
    "finishedAt": "1970-01-12T13:46:45+00:00",
    "actions": [
        {
            "node": "node-a",
            "actionIndex": 0,
            "op": "activate",
            "user": runs.USER,
            "status": "success",
            "message": None,
            "startedAt": "1970-01-12T13:46:41Z",
            "finishedAt": None,
            "updatedAt": "1970-01-12T13:46:41Z",
        }
    ],
}


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "evidence")
    for request in runs.REQUESTS:
        recorder.request(request)
    for event in (
        Event("stage", "Boot"),
        Event("info", "x"),
        Event("stage-end", "Boot", 2.5),
        Event("stage", "Move"),
    ):
        recorder.event(event)
    for name, document in (
        (evidence.RUN, asdict(runs.PASSED.setting)),
        (evidence.JOBS, [JOB]),
        (evidence.CHECKSUMS["before"], {"tables": {"a": "1"}, "files": {}}),
        (evidence.NOTES, {"accepted": 3, "lost": ["visitor 7"]}),
        (evidence.VERSIONS, {"node-a": {"git": "2"}}),
    ):
        recorder.document(name, document)
    found = evidence.load(tmp_path / "evidence")
    assert found.requests == runs.REQUESTS
    assert found.setting == runs.PASSED.setting
    assert [(stage.name, stage.seconds) for stage in found.stages] == [("Boot", 2.5), ("Move", None)]
    assert found.before == evidence.Checksums({"a": "1"}, {})
    assert found.after is None
    assert found.notes == evidence.Notes(3, ("visitor 7",))
    assert found.versions == {"node-a": {"git": "2"}}
    (job,) = found.jobs
    assert (job.created, job.finished) == (runs.BEGIN + 0.5, runs.BEGIN + 5)
    assert job.actions[0].started == runs.BEGIN + 1


def test_every_line_is_written_at_once(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.action("job", {"node": "node-a", "op": "backup", "status": "running"})
    (line,) = (tmp_path / evidence.ACTIONS).read_text().splitlines()
    assert json.loads(line)["op"] == "backup"


def test_a_run_that_hardly_began_has_little_to_show(tmp_path: Path) -> None:
    Recorder(tmp_path).document(evidence.RUN, asdict(runs.NOTHING.setting))
    assert evidence.load(tmp_path) == runs.NOTHING


class Node:
    """A node with one note in its database, or one that is off: a command would boot the lab's."""

    name = "node-b"

    def __init__(self, up: bool) -> None:
        self.up = up

    def is_up(self) -> bool:
        return self.up

    def succeed(self, *command: str) -> str:
        raise NotImplementedError

    def execute(self, command: str, *, timeout: int | None) -> tuple[int, str]:
        assert self.up, f"{command} within {timeout} s on a node that is off"
        return 0, "visitor 1\n"


def test_notes_are_looked_for_on_a_node_that_is_up_only(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.document(evidence.RUN, asdict(runs.PASSED.setting))
    recorder.request(runs.request(1, "write", "node-b", 201, "ok"))
    collector = Collector(recorder, tmp_path, ProviderService(tmp_path))
    collector.notes(Node(up=False))
    assert evidence.load(tmp_path).notes is None
    collector.notes(Node(up=True))
    assert evidence.load(tmp_path).notes == Notes(1, ())
