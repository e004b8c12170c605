"""What the tests put in place of the provider and of the environments' runtime."""

import json
import zlib
from collections.abc import Callable, Collection, Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hostenv_core.errors import HostenvError
from hostenv_core.intents import Action
from hostenv_node.comin import switch as taking_over
from hostenv_node.comin.generation import Generation
from hostenv_node.config import Config
from hostenv_node.environment.entry import Entry
from hostenv_node.errors import OperationFailed
from hostenv_node.jobs.activation import Activation
from hostenv_node.jobs.api import Api, ApiError
from hostenv_node.jobs.job_run import JobRun
from hostenv_node.jobs.journal_store import JournalStore
from hostenv_node.jobs.operations import Context

C1, C2, C3 = "1" * 40, "2" * 40, "3" * 40
USER = "drupal-main-2855093"
NOTHING_MORE = "nothing more is scripted to happen"


def action(
    op: str, user: str = USER, from_node: str | None = None, to_node: str | None = None
) -> dict[str, Any]:
    return {"op": op, "user": user, "fromNode": from_node, "toNode": to_node, "migrations": ["data"]}


MOVE_IN = [action("restore", USER, "node-a", "node-b"), action("activate", USER, "node-a", "node-b")]
MOVE_OUT = [action("backup", USER, "node-a", "node-b"), action("deactivate", USER, "node-a", "node-b")]
RELOAD = [action("reload", USER, "node-b", "node-b")]
ENTRY = {"uid": 1002, "marker": "entry"}


def slices(config: Config) -> taking_over.Fetch:
    """The provider's slices, as the fixture `generation` makes them."""
    return lambda sha256: (config.state_dir.parent / "slices" / sha256).read_text()


def switch(config: Config, toplevel: Path) -> Generation:
    return taking_over.switch(config, slices(config), toplevel)


def reapply(config: Config) -> Generation | None:
    return taking_over.reapply(config, slices(config))


@dataclass
class Job:
    commit: str
    state: str
    intents: dict[str, list[dict[str, Any]]]
    rows: list[dict[str, Any]]
    snapshots: dict[str, str] = field(default_factory=dict)

    def row(self, node: str, op: str, user: str = USER) -> dict[str, Any]:
        return next(row for row in self.rows if (row["node"], row["op"], row["user"]) == (node, op, user))


def tag_of(answer: Any) -> str:
    """Another one for each answer."""
    return f'"{zlib.crc32(json.dumps(answer).encode())}"'


class Provider:
    """Plays the provider's part of contract 4 for the node under test; scripted, it checks nothing."""

    def __init__(self, slices: Path) -> None:
        self.url = ""
        self.slices = slices
        self.token = "secret-token"
        self.history = [C1, C2, C3]
        self.jobs: dict[str, Job] = {}
        self.events: list[tuple[str, str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.failures: list[int] = []
        """Statuses with which the next requests are answered instead."""
        self.refusals: dict[tuple[str, str], list[int]] = {}
        """Statuses with which an event (status, phase) is refused, one each time."""
        self.on_wait: list[Callable[[], None]] = []
        """What happens elsewhere, one at each long poll; a poll beyond it is answered 410."""
        self.on_event: dict[tuple[str, str], Callable[[], None]] = {}
        """What happens just before an event (status, phase) is looked at."""
        self.secrets: dict[str, str] = {}
        self.parts: dict[tuple[str, str, str], bytes] = {}
        """Of live moves, by job, user and name."""

    def add_job(
        self, job_id: str, commit: str, intents: Mapping[str, list[dict[str, Any]]], verify: bool = True
    ) -> Job:
        rows = [
            {"node": node, "actionIndex": index, "op": item["op"], "user": item["user"], "status": "queued"}
            for node, actions in intents.items()
            for index, item in enumerate(actions)
        ]
        users = {row["user"] for row in rows if row["op"] in ("activate", "reload")}
        if verify:
            rows += [
                {"node": "provider", "actionIndex": index, "op": "verify", "user": user, "status": "queued"}
                for index, user in enumerate(sorted(users))
            ]
        job = Job(commit, "waiting", dict(intents), rows)
        self.jobs[job_id] = job
        return job

    def verify_when_activated(self, job: Job, user: str = USER, op: str = "activate") -> None:
        """The provider's check succeeds at once after the environment was activated."""
        self.on_event[("success", op)] = lambda: job.row("provider", "verify", user).update(status="success")

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        self.requests.append(f"{method} {target}")
        if self.failures:
            return self.failures.pop(0), {"error": "scripted"}
        if headers.get("Authorization") != f"Bearer {self.token}":
            return 403, None
        url = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        match [method, *url.path.strip("/").split("/")[1:]]:
            case ["GET", "deploy-intents", "pending"]:
                return 200, {"node": query["node"], "intents": self._pending(query["sha"], query["node"])}
            case ["GET", "deploy-jobs", job_id, "actions"] if job_id in self.jobs:
                if "wait" in query and headers.get("If-None-Match") in (None, tag_of(self._actions(job_id))):
                    if not self.on_wait:
                        return 410, {"error": NOTHING_MORE}
                    self.on_wait.pop(0)()
                return 200, self._actions(job_id)
            case ["GET", "deploy-jobs", job_id, "backup-snapshot"] if job_id in self.jobs:
                snapshots = self.jobs[job_id].snapshots
                payload = {"user": query["user"], "sourceNode": query["source"], "snapshots": snapshots}
                return 200, {"payload": payload if snapshots else None}
            case ["POST", "deploy-jobs", job_id, "events"] if job_id in self.jobs:
                return self._event(job_id, json.loads(body))
            case ["PUT", "deploy-jobs", job_id, "transfer", user, name]:
                self.parts[job_id, user, name] = body
                return 201, {"name": name}
            case ["GET", "deploy-jobs", job_id, "transfer", user, name] if (job_id, user, name) in self.parts:
                return 200, self.parts[job_id, user, name]
            case ["GET", "nodes", _, "slice"] if (self.slices / query["sha256"]).exists():
                return 200, {"slice": (self.slices / query["sha256"]).read_text()}
            case ["GET", "environments", user, "secrets"]:
                return 200, {"user": user, "secrets": self.secrets}
        return 404, {"error": "no such thing"}

    def _actions(self, job_id: str) -> dict[str, Any]:
        job = self.jobs[job_id]
        return {"jobId": job_id, "node": "node-b", "state": job.state, "actions": job.rows}

    def _pending(self, commit: str, node: str) -> list[dict[str, Any]]:
        reached = self.history[: self.history.index(commit) + 1] if commit in self.history else []
        return [
            {"jobId": job_id, "commitSha": sha, "intent": {"schemaVersion": 1, "actions": job.intents[node]}}
            for sha in reached
            for job_id, job in self.jobs.items()
            if job.commit == sha and job.state == "waiting" and node in job.intents
        ]

    def _event(self, job_id: str, event: dict[str, Any]) -> tuple[int, Any]:
        job = self.jobs[job_id]
        key = (event["status"], event["phase"])
        if self.refusals.get(key):
            return self.refusals[key].pop(0), {"error": "scripted", "state": job.state}
        self.on_event.pop(key, lambda: None)()
        if job.state != "waiting":
            return 409, {"error": f"the job is {job.state}", "state": job.state}
        self.events.append((job_id, *key))
        self.bodies.append(event)
        if event["phase"] != "intent":
            row = next(
                row
                for row in job.rows
                if (row["node"], row["actionIndex"], row["op"])
                == (event["node"], event["actionIndex"], event["phase"])
            )
            row["status"] = event["status"]
        if event["status"] in ("failed", "timed_out"):
            job.state = "failed"
        return 200, {"recorded": True}


class RecordedOperations:
    """Operations that only note their calls; `failures` maps an operation to what it raises once."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self.failures: dict[str, BaseException] = {}
        self.entries: list[Entry] = []
        self.snapshots: list[Mapping[str, str]] = []
        self.during: dict[str, Callable[[], None]] = {}
        self.limits: list[float] = []
        """Seconds that each call had left when it began."""
        self.pruned: list[Container[str]] = []
        """The users that each upkeep had to leave alone."""
        self.wanted: list[bool] = []
        """Whether each was asked to end."""
        self.warning: str | None = None
        """What a backup has to say before it freezes."""
        self.accepted: list[bool] = []
        self.left: dict[str, str] = {}
        """What cannot be deleted, by user."""

    def names(self) -> list[str]:
        return [name for name, _, _ in self.calls]

    def _call(self, name: str, context: Context, user: str) -> None:
        self.limits.append(context.deadline.remaining())
        self.calls.append((name, context.job, user))
        self.during.pop(name, lambda: None)()
        if name in self.failures:
            raise self.failures.pop(name)

    def backup(self, context: Context, action: Action) -> Mapping[str, object]:
        self.accepted.append(action.accept_loss)
        if self.warning is not None:
            context.tell(self.warning)
            self.warning = None
        self._call("backup", context, action.user)
        return {"user": action.user, "sourceNode": "node-a", "snapshots": {"data": "abc123"}}

    def restore(self, context: Context, action: Action, entry: Entry, snapshots: Mapping[str, str]) -> None:
        self.entries.append(entry)
        self.snapshots.append(snapshots)
        self._call("restore", context, action.user)

    def sync(self, context: Context, action: Action) -> None:
        self._call("sync", context, action.user)

    def handover(self, context: Context, action: Action) -> None:
        self._call("handover", context, action.user)

    def activate(self, context: Context, action: Action, entry: Entry) -> None:
        self.entries.append(entry)
        self._call("activate", context, action.user)

    def reload(self, context: Context, action: Action, entry: Entry) -> None:
        self.entries.append(entry)
        self._call("reload", context, action.user)

    def deactivate(self, context: Context, action: Action) -> None:
        self._call("deactivate", context, action.user)

    def freeze(self, context: Context, user: str) -> None:
        self._call("freeze", context, user)

    def thaw(self, context: Context, user: str) -> None:
        self._call("thaw", context, user)

    def keep(self, context: Context, user: str) -> None:
        self._call("keep", context, user)

    def withdraw(self, context: Context, user: str) -> None:
        self._call("withdraw", context, user)

    def revert(self, context: Context, user: str) -> None:
        self._call("revert", context, user)

    def left_behind(self, user: str) -> str | None:
        return self.left.get(user)

    def prune(self, now: float, busy: Container[str], is_wanted: Callable[[], bool]) -> list[str]:
        assert now > 0
        self.pruned.append(busy)
        self.during.pop("prune", lambda: None)()
        self.wanted.append(is_wanted())
        return list(self.left.values())

    def boot(self) -> None:
        raise OperationFailed("not part of an activation")


class Node:
    """A node whose activations and jobs a test starts, and what came of them."""

    def __init__(self, config: Config, provider: Provider, operations: RecordedOperations) -> None:
        self.config = config
        self.provider = provider
        self.operations = operations
        self.log: list[str] = []
        self.started: list[str] = []
        """Jobs whose units the activations started."""

    def take_in(self) -> list[str]:
        """One activation; the jobs that it started, in order."""
        started: list[str] = []

        def start(jobs: Collection[str]) -> None:
            started[:] = jobs

        try:
            Activation(self.config, self._api(), self.operations, start, self.log.append).run()
        finally:
            self.started = started
        return started

    def work(self, job: str) -> None:
        """One run for a job, until it waits for more than the test's script tells of."""
        try:
            JobRun(self.config, self._api(), self.operations, job, self.log.append).run()
        except ApiError as error:
            if NOTHING_MORE not in str(error):
                raise

    def activate(self) -> None:
        """An activation, and one run after the other for the jobs that it started.

        Raises the first error of all.
        """
        problems: list[HostenvError] = []
        try:
            self.take_in()
        except HostenvError as error:
            problems.append(error)
        for job in self.started:
            try:
                self.work(job)
            except HostenvError as error:
                problems.append(error)
        if problems:
            raise problems[0]

    def open_jobs(self) -> list[str]:
        return [journal.job_id for journal in JournalStore(self.config.jobs_dir).load()]

    def told(self) -> list[str]:
        return [f"{status}/{phase}" for _, status, phase in self.provider.events]

    def _api(self) -> Api:
        return Api(self.config, sleep=lambda _seconds: None)
