"""A provider whose worker does its stages on real Git repositories; only Nix, projects and DNS are played."""

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hostenv_core.errors import HostenvError
from hostenv_core.states import JobState, Status
from hostenv_provider.config import Config
from hostenv_provider.disks.free_space import Disks
from hostenv_provider.plan.definitions import Application, EnvironmentDefinition
from hostenv_provider.plan.placement import moving
from hostenv_provider.plan.plan import Environment, Plan, Source
from hostenv_provider.plan.settings import ProviderSettings
from hostenv_provider.repository.node_repositories import NodeRepositories
from hostenv_provider.repository.remotes import FetchFailed
from hostenv_provider.repository.repository import Repository
from hostenv_provider.rules.jobs import Event, Request
from hostenv_provider.secrets.environment_secrets import EnvironmentSecrets
from hostenv_provider.store import database
from hostenv_provider.store.store import Store, utc_now
from hostenv_provider.work.worker import Worker

GIT = shutil.which("git") or "git"
PROJECT = "demo__drupal"
URL = "git+https://git.example.org/demo.git"


class Killed(BaseException):
    """What `kill -9` is to the thread that it hits."""


def definition(name: str, ref: str | None = None) -> EnvironmentDefinition:
    return EnvironmentDefinition(
        name=name,
        type="production",
        enable=True,
        git_ref=ref or name,
        application=Application("php", "."),
        virtual_hosts={},
        users={},
        migrations=("drupal-migrate",),
        checks=(),
    )


def lock_file(locked: str) -> dict[str, object]:
    """What is locked when the project is at such a state."""
    nodes = {
        PROJECT: {"flake": False, "locked": {"rev": locked}},
        "root": {"inputs": {PROJECT: PROJECT}},
    }
    return {"nodes": nodes, "root": "root", "version": 7}


def make_earlier(path: Path, step: str) -> None:
    """Turn the database at `path` into what the version before `step` would have written."""
    steps = database._STEPS[: database._STEPS.index(step)]
    now = path.rename(path.with_suffix(".now"))
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript("".join(steps))
        db.execute("ATTACH ? AS now", (str(now),))
        for (table,) in db.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall():
            columns = ", ".join(row[1] for row in db.execute(f"PRAGMA main.table_info({table})"))
            db.execute(f"DELETE FROM main.{table}")
            db.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM now.{table}")
        db.execute(f"PRAGMA main.user_version = {len(steps)}")


@dataclass
class PlayedProjects:
    """One project whose branches have the heads that a test says."""

    repository: Repository
    definitions: dict[str, EnvironmentDefinition] = field(
        default_factory=lambda: {"main": definition("main")}
    )
    heads: dict[str, str] = field(default_factory=lambda: {"main": "1" * 40, "staging": "5" * 40})
    locked: str = "first"
    updates: int = 0
    mirrored: dict[str, str] = field(default_factory=dict)
    failure: str | None = None
    unreachable: str | None = None

    def update_input(self, key: str) -> None:
        assert key == PROJECT
        self.updates += 1
        if self.unreachable is not None:
            raise FetchFailed(self.unreachable)
        self.repository.write_text("flake.lock", json.dumps(lock_file(self.locked)))

    def evaluate(self, key: str) -> dict[str, EnvironmentDefinition]:
        assert key == PROJECT
        if self.failure is not None:
            raise HostenvError(self.failure)
        return self.definitions

    def sources(
        self,
        key: str,
        definitions: Mapping[str, EnvironmentDefinition],
        previous: Plan,
        moves: Callable[[str], bool],
    ) -> dict[str, Source]:
        recorded = {each.name: each.source for each in previous.of_project(key).values()}
        return {
            name: Source(URL, ref, self.heads[ref], "sha256-" + "A" * 43 + "=")
            for name in moving(definitions, recorded, URL, moves)
            for ref in [definitions[name].git_ref]
        }

    def mirror(self, key: str, environments: Mapping[str, Environment]) -> None:
        assert key == PROJECT
        self.mirrored = {user: each.source.rev for user, each in environments.items()}


@dataclass
class Machine:
    """A provider whose service can be killed and started again."""

    config: Config
    repository: Repository
    nodes: NodeRepositories
    projects: PlayedProjects
    store: Store
    worker: Worker
    said: str = ""

    @classmethod
    def create(cls, config: Config, clock: Callable[[], datetime] = utc_now) -> "Machine":
        """A new provider with two nodes."""
        config.data_dir.mkdir()
        settings = {
            "hostenvHostname": "demo.hostenv.test",
            "nodeFor": {"default": "node-a"},
            "nodes": {"node-a": {"address": "192.0.2.1"}, "node-b": {"address": "192.0.2.2"}},
        }
        repository = Repository(config)
        with repository.locked():
            repository.create(ProviderSettings.parse(settings, "http://provider"))
        machine = cls.start(config, clock=clock)
        # Each node comes to its own repository.
        machine.work()
        return machine

    @classmethod
    def copy(cls, created: Path, config: Config, clock: Callable[[], datetime] = utc_now) -> "Machine":
        """The same in far less time: `created` is the data folder of a provider that `create` made."""
        shutil.copytree(created, config.data_dir, symlinks=True)
        origin = Repository(config).work_tree / ".git" / "config"
        origin.write_text(origin.read_text().replace(str(created), str(config.data_dir)))
        machine = cls.start(config, clock=clock)
        machine.work()
        return machine

    @classmethod
    def start(
        cls,
        config: Config,
        played: PlayedProjects | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> "Machine":
        repository = Repository(config)
        projects = PlayedProjects(repository) if played is None else replace(played, repository=repository)
        store = Store(config.database, clock)
        store.recover()
        nodes = NodeRepositories(repository)
        worker = Worker(
            store, repository, nodes, projects, EnvironmentSecrets(config), Disks(config), lambda _: set()
        )
        return cls(config, repository, nodes, projects, store, worker)

    def restart(self) -> "Machine":
        return Machine.start(self.config, self.projects)

    def run(self, request: Request | None = None) -> str:
        """Enqueue a job and work until nothing is left to do."""
        job_id = self.store.enqueue(request or Request(PROJECT, None)).job_id
        self.work()
        return job_id

    def work(self) -> None:
        for _ in range(50):
            try:
                if not self.worker.step():
                    return
            except HostenvError as error:
                # The service says so in its log and tries again.
                self.said = str(error)
                return
        pytest.fail("the worker does not come to rest")

    def finish(self, job_id: str) -> None:
        """The nodes and the check do what the job wants, and all goes well."""
        for op in ("backup", "restore", "activate", "reload", "deactivate"):
            for record in self.store.actions(job_id):
                row = record.row
                if row.action.op == op:
                    snapshots = dict.fromkeys(row.action.migrations, "9f0c9f0c")
                    payload = {"user": row.action.user, "sourceNode": row.node, "snapshots": snapshots}
                    self.store.record_event(
                        job_id, Event(row.node, Status.SUCCESS, op, None, payload, row.index)
                    )
            for verification in self.store.verifiable():
                self.store.record_verification(job_id, verification.user, Status.SUCCESS, None)
        for record in self.store.actions(job_id):
            if record.row.node != "provider":
                self.store.record_event(job_id, Event(record.row.node, Status.SUCCESS))
        assert self.state(job_id) is JobState.SUCCEEDED

    def state(self, job_id: str) -> JobState:
        job = self.store.job(job_id)
        assert job is not None
        return job.state

    def reason(self, job_id: str) -> str:
        job = self.store.job(job_id)
        assert job is not None
        return str(job.reason)

    def commit_of(self, job_id: str) -> str:
        job = self.store.job(job_id)
        assert job is not None
        assert job.commit_sha is not None
        return job.commit_sha

    def node_commit_of(self, job_id: str, node: str) -> str:
        commit = self.store.node_commits(job_id)[node]
        assert commit is not None
        return commit

    def ops(self, job_id: str) -> list[tuple[str, str, str]]:
        rows = [record.row for record in self.store.actions(job_id)]
        return [(row.node, row.action.op, row.action.user) for row in rows]

    def published(self, path: str) -> Any:
        return json.loads(self.git("show", f"main:{path}"))

    def git(self, *arguments: str) -> str:
        command = [GIT, f"--git-dir={self.repository.bare}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def history(self) -> list[str]:
        return self.git("rev-list", "--first-parent", "main").splitlines()

    def git_of(self, node: str, *arguments: str) -> str:
        command = [GIT, f"--git-dir={self.nodes.path(node)}", *arguments]
        return (
            subprocess.run(command, check=True, capture_output=True).stdout.decode(errors="replace").strip()
        )

    def history_of(self, node: str) -> list[str]:
        return self.git_of(node, "rev-list", "main").splitlines()

    def operator_pushes(self, folder: Path, settings: dict[str, object] | None = None) -> str:
        subprocess.run([GIT, "clone", "--quiet", str(self.repository.bare), str(folder)], check=True)
        if settings is not None:
            path = folder / "provider.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
        (folder / "notes").write_text("an operator was here")
        for arguments in (
            ["add", "--all"],
            ["-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "--quiet", "-m", "operator"],
            ["push", "--quiet", "origin", "HEAD:main"],
        ):
            subprocess.run([GIT, *arguments], cwd=folder, check=True)
        return self.history()[0]
