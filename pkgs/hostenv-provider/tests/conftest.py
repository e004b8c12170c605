"""A provider in a temporary folder: a clock that tests move, environments, jobs that wait, the API."""

import itertools
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hostenv_core.checks import Check
from hostenv_core.errors import HostenvError
from hostenv_core.intents import Action
from hostenv_core.states import JobState, Status
from hostenv_core.web import UnixConnection
from hostenv_provider.config import Config
from hostenv_provider.disks.free_space import Disks
from hostenv_provider.plan.definitions import Application, VirtualHost
from hostenv_provider.plan.lock_file import Input
from hostenv_provider.plan.plan import Environment, Plan, Source
from hostenv_provider.rules.intents import derive_actions, verify_actions
from hostenv_provider.rules.jobs import Event, Outcome, Request
from hostenv_provider.rules.stored import NodeCommit, Prepared, Target
from hostenv_provider.secrets import webhook_secrets
from hostenv_provider.secrets.environment_secrets import EnvironmentSecrets
from hostenv_provider.secrets.tokens import TokenFile
from hostenv_provider.store.store import Store
from hostenv_provider.web.api import Api, Route
from hostenv_provider.web.server import Server
from provider_support import Machine

URL = "git+https://git.example.org/demo.git"


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Commands set their own, as processes that end; the tests go on."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@dataclass
class Clock:
    """Stands still until it is moved."""

    now: datetime = field(default_factory=lambda: datetime(2026, 3, 1, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def environment_of(
    name: str = "main",
    node: str = "node-a",
    *,
    project: str = "drupal",
    rev: str = "1" * 40,
    ref: str | None = None,
    enable: bool = True,
    migrations: tuple[str, ...] = ("drupal-migrate",),
    checks: tuple[Check, ...] = (),
) -> Environment:
    """An environment of `demo__<project>`."""
    return Environment(
        organisation="demo",
        project=project,
        name=name,
        enable=enable,
        type="production",
        node=node,
        previous_node=None,
        uid=1002,
        migrations=migrations,
        application=Application("php", "."),
        virtual_hosts={f"{name}.{project}.example.org": VirtualHost()},
        users={},
        checks=checks,
        source=Source(URL, ref or name, rev, "sha256-" + "A" * 43 + "="),
        hostenv_hostname="demo.hostenv.test",
        backups_repo_host="http://provider/backups",
    )


@dataclass
class Provider:
    """A store, and what the worker would do to it without Git and Nix."""

    path: Path
    clock: Clock
    store: Store
    commits: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def reopen(self) -> None:
        """What a restart after `kill -9` finds: the file as it is, without any farewell."""
        self.store = Store(self.path, self.clock)
        self.store.recover()

    def deploy(self, *environments: Environment, **options: object) -> str:
        """Enqueue a job that plans these environments and let it wait for its nodes; returns its id."""
        job_id = self.store.enqueue(Request(environments[0].project_key, refs=None)).job_id
        taken = self.store.take_next()
        assert taken is not None
        assert taken.job_id == job_id
        self.wait(job_id, *environments, **options)  # type: ignore[arg-type]
        return job_id

    def wait(
        self,
        job_id: str,
        *environments: Environment,
        migration_sources: Mapping[str, str] | None = None,
        skip_migrations: frozenset[str] = frozenset(),
        address: str = "127.0.0.1",
        commit: str | None = None,
        databases: Mapping[str, str] | None = None,
    ) -> Prepared:
        """Let a running job wait for its nodes."""
        key = environments[0].project_key
        planned = {environment.user_name: environment for environment in environments}
        actions = derive_actions(
            self.store.deployed(key),
            planned,
            self.store.stale(key),
            migration_sources or {},
            skip_migrations,
            databases=databases,
        )
        verifications = verify_actions(actions)
        targets = [Target(address, planned[action.user]) for action in verifications]
        commit = commit or f"{next(self.commits):040x}"
        commits = {node: NodeCommit(commit, slice_text(node)) for node in actions}
        prepared = Prepared(commit, actions, verifications, targets, commits)
        self.store.start_waiting(job_id, prepared)
        return prepared

    def post(
        self,
        job_id: str,
        node: str,
        op: str,
        status: Status = Status.SUCCESS,
        *,
        user: str | None = None,
        message: str | None = None,
    ) -> Outcome:
        """A node's event about its first action with this op, or about the whole intent."""
        index = payload = None
        if op != "intent":
            rows = [record.row for record in self.store.actions(job_id, node) if record.row.action.op == op]
            row = next(row for row in rows if user in (None, row.action.user))
            index = row.index
            if op == "backup" and status is Status.SUCCESS:
                payload = backup_payload(row.action, node)
        outcome = self.store.record_event(job_id, Event(node, status, op, message, payload, index))
        assert outcome is not None
        return outcome

    def verify(
        self, job_id: str, user: str, status: Status = Status.SUCCESS, message: str | None = None
    ) -> None:
        """The end of the service's own check."""
        self.store.record_verification(job_id, user, status, message)

    def until_check(self, job_id: str) -> None:
        """Everything that a job's nodes do before the service's own check, when all goes well."""
        for op in ("backup", "restore", "sync", "handover", "activate", "reload"):
            for record in self.store.actions(job_id):
                if record.row.action.op == op:
                    self.post(job_id, record.row.node, op, user=record.row.action.user)

    def finish(self, job_id: str, environments: Sequence[Environment], *nodes: str) -> None:
        """Everything that a job's nodes and the service do when all goes well."""
        self.until_check(job_id)
        for environment in environments:
            self.verify(job_id, environment.user_name)
        for record in self.store.actions(job_id):
            if record.row.action.op == "deactivate":
                self.post(job_id, record.row.node, "deactivate", user=record.row.action.user)
        for node in nodes:
            self.post(job_id, node, "intent")
        assert self.state(job_id) is JobState.SUCCEEDED

    def state(self, job_id: str) -> JobState:
        job = self.store.job(job_id)
        assert job is not None
        return job.state

    def reason(self, job_id: str) -> str | None:
        job = self.store.job(job_id)
        assert job is not None
        return job.reason

    def rows(self, job_id: str) -> list[tuple[str, str, str]]:
        """Node, op and status of every row, sorted."""
        records = self.store.actions(job_id)
        return sorted((each.row.node, each.row.action.op, str(each.row.status)) for each in records)


def slice_text(node: str) -> str:
    """What the node is told in these tests."""
    return json.dumps({"node": node, "environments": {}})


def backup_payload(action: Action, node: str) -> dict[str, object]:
    """What a node reports of a successful backup."""
    return {
        "user": action.user,
        "sourceNode": node,
        "snapshots": dict.fromkeys(action.migrations, "9f0c" * 16),
    }


@dataclass
class Published:
    """What the API sees of the provider repository: commits are numbers, and older ones are ancestors."""

    plan: Plan | HostenvError
    inputs: dict[str, Input] = field(default_factory=dict)

    def published_plan(self) -> Plan:
        if isinstance(self.plan, HostenvError):
            raise self.plan
        return self.plan

    def published_inputs(self) -> dict[str, Input]:
        return self.inputs

    def is_ancestor(self, older: str, newer: str) -> bool:
        return int(older, 16) <= int(newer, 16)


@dataclass
class NodeHistories:
    """The nodes' own repositories, with commits like the provider's."""

    published: Published

    def is_ancestor(self, node: str, older: str, newer: str) -> bool:
        assert node
        return self.published.is_ancestor(older, newer)


@dataclass
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


@dataclass
class Running:
    """The API behind its socket."""

    config: Config
    provider: Provider
    published: Published
    tokens: TokenFile
    problem: str | None = None
    routes: tuple[Route, ...] = ()

    @property
    def store(self) -> Store:
        return self.provider.store

    def connect(self) -> UnixConnection:
        return UnixConnection(self.config.socket, 120)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            content = response.read()
            return Answer(
                response.status, content, {name.lower(): value for name, value in response.getheaders()}
            )
        finally:
            connection.close()

    def get(self, path: str, node: str | None = "node-a", **headers: str) -> Answer:
        token = {} if node is None else {"Authorization": f"Bearer {self.tokens.show(node)}"}
        return self.request("GET", path, headers={**token, **headers})

    def post(self, path: str, document: object, node: str | None = "node-a") -> Answer:
        token = {} if node is None else {"Authorization": f"Bearer {self.tokens.show(node)}"}
        return self.request("POST", path, json.dumps(document).encode(), token)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def provider(tmp_path: Path, clock: Clock) -> Provider:
    path = tmp_path / "provider.sqlite3"
    return Provider(path, clock, Store(path, clock))


@pytest.fixture
def environment() -> Callable[..., Environment]:
    """Make an environment; see `environment_of`."""
    return environment_of


RESTIC = """#!/bin/sh
# Only the files of restic's keys: each real one takes seconds on purpose.
while test "$1" != --repo; do shift; done
mkdir -p "$2/keys" && touch "$2/config" && mktemp "$2/keys/XXXXXXXXXX" >/dev/null
"""


@pytest.fixture
def restic_program(tmp_path: Path) -> str:
    """The program that tests have for restic, unless they name the real one."""
    program = tmp_path / "restic"
    program.write_text(RESTIC)
    program.chmod(0o755)
    return str(program)


def config_of(folder: Path, restic: str) -> Config:
    return Config(
        data_dir=folder / "data",
        socket=folder / "run" / "provider.sock",
        user="hostenv-provider",
        public_url="http://provider",
        tools={"git": shutil.which("git") or "git", "restic": restic},
    )


@pytest.fixture
def config(tmp_path: Path, restic_program: str) -> Config:
    return config_of(tmp_path, restic_program)


@pytest.fixture(scope="session")
def new_provider(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a new provider with two nodes, for `Machine.copy`."""
    config = config_of(tmp_path_factory.mktemp("t"), "restic")
    Machine.create(config).store.close()
    return config.data_dir


@pytest.fixture
def api(config: Config, provider: Provider) -> Iterator[Running]:
    environments = {each.user_name: each for each in (environment_of("main"), environment_of("staging"))}
    published = Published(Plan("demo.hostenv.test", "http://provider", environments, ("node-a", "node-b")))
    tokens = TokenFile(config)
    tokens.create(["node-a", "node-b"])
    webhook_secrets.leave_open(config, "demo__drupal")
    EnvironmentSecrets(config).ensure(environments)
    running = Running(config, provider, published, tokens)
    nodes = NodeHistories(published)
    served = Api(config, provider.store, published, nodes, Disks(config), lambda: running.problem)
    running.routes = served.routes
    server = Server(config.socket, served.answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def job(api: Running) -> str:
    """A job that waits to move `main` from node-a to node-b."""
    here = environment_of(node="node-a")
    api.provider.finish(api.provider.deploy(here), [here], "node-a")
    return api.provider.deploy(environment_of(node="node-b"))
