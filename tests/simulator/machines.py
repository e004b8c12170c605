"""Nodes: disks and comin are made up; the switch, the activation and the work on jobs are the real ones."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from unittest.mock import patch

from hostenv_core.errors import HostenvError
from hostenv_node.comin import switch
from hostenv_node.comin.generation import Generation, Slice
from hostenv_node.comin.spool import Deployment
from hostenv_node.comin.status import BrokenCommit
from hostenv_node.config import Config
from hostenv_node.jobs import activation, job_run
from hostenv_node.jobs import api as node_api
from hostenv_node.jobs.journal import JobJournal

from simulator.faults import Faults
from simulator.history import Commit, History, NodeTree
from simulator.operations import SimulatedOperations
from simulator.scheduler import Task
from simulator.sites import Sites
from simulator.tenants import ACTION_TIMEOUT, Tenants

_STORE = Path("/nix/store")


class _Config(Config):
    """With paths that are made once, for they are looked at all the time."""

    @cached_property
    def jobs_dir(self) -> Path:
        return super().jobs_dir


@dataclass
class Disk:
    """What of a node survives: journals, comin's spool and profile, and what the switch records."""

    journals: dict[str, JobJournal] = field(default_factory=dict)
    spool: list[Deployment] = field(default_factory=list)
    generation: Generation | None = None
    slice: Slice | None = None
    profile: Path | None = None
    deployed: Commit[NodeTree] | None = None
    """What comin has begun to deploy last; it never does so again."""


class Machine:
    """One node with comin, the activation, and a unit for each job."""

    def __init__(
        self,
        name: str,
        history: History[NodeTree],
        sites: Sites,
        faults: Faults,
        tenants: Tenants,
        parallel_jobs: int,
        series: str | None,
        began: Callable[[str], None],
    ) -> None:
        self.name = name
        self.history = history
        """This node's own repository."""
        self.series = series
        """Of its MariaDB, if it tells that."""
        self.faults = faults
        self.disk = Disk()
        self.up = True
        self.cut = False
        """Whether the provider cannot be reached from here, nor this node from there."""
        self.operations = SimulatedOperations(name, sites, faults, tenants, self, began)
        self.activation_task: Task | None = None
        self.job_tasks: dict[str, Task] = {}
        """The units of jobs that were started, by job."""
        self.slots = 0
        """How many are taken."""
        self.comin_task: Task | None = None
        self.wanted = False
        """Whether somebody asked for an activation that has not begun."""
        self._switches = False
        self.selected: Commit[NodeTree] | None = None
        self.broken: Commit[NodeTree] | None = None
        self.config = _Config(
            node=name,
            api_base_url="http://provider",
            token_file=Path("/etc/hostenv/node-token"),
            state_dir=Path("/", name),
            front_door_group="www-data",
            front_door_port=80,
            shell="/bin/sh",
            comin_profile=Path("/", name, "comin"),
            mime_types=Path("/mime.types"),
            set_aside_retention_days=30,
            action_timeout=int(ACTION_TIMEOUT),
            parallel_jobs=parallel_jobs,
            applications={},
            tools={},
        )

    def activate(self, api: node_api.Api) -> None:
        """One run of the activation."""
        self.wanted = False

        def start_jobs(jobs: Collection[str]) -> None:
            for job_id in jobs:
                self._start_job(job_id, api)

        run = activation.Activation(self.config, api, self.operations, start_jobs, self._log)
        try:
            run.run()
        except HostenvError as error:
            self._log(f"activation ends: {error}")

    def _start_job(self, job_id: str, api: node_api.Api) -> None:
        if job_id in self.living_jobs:
            return

        def work() -> None:
            try:
                job_run.JobRun(self.config, api, self.operations, job_id, self._log).run()
            except HostenvError as error:
                self._log(f"unit of {job_id} ends: {error}")

        self.job_tasks[job_id] = Task(f"{job_id} on {self.name}", work)

    @property
    def living_jobs(self) -> list[str]:
        """The jobs whose units run."""
        return [job_id for job_id, task in self.job_tasks.items() if not task.done]

    def follow(self, api: node_api.Api) -> None:
        """comin polls, and deploys the newest commit if it is another one than before."""
        self.faults.point()
        head = self.history.head
        if self.cut or self.up_to_date:
            return
        self.selected, self.broken = head, None
        self.faults.point()
        if head.tree.broken:
            self._log(f"comin: {head.number} does not evaluate")
            self.broken = head
            return
        self.disk.deployed = head
        self.faults.point()
        toplevel = _STORE / f"hostenv-{self.name}-{head.sha}"
        self.disk.profile = toplevel
        self.faults.point()
        error = ""
        try:
            switch.switch(self.config, api.slice, toplevel)
        except HostenvError as failure:
            error = str(failure)
        self._log(f"comin: switched to {head.number} {error}")
        self.faults.point()
        self.disk.spool.append(Deployment(head.sha, "done", error))
        self.faults.point()
        self.wanted = True

    @property
    def up_to_date(self) -> bool:
        """Whether comin has nothing new to deploy."""
        return self.history.head is (self.selected or self.disk.deployed)

    @property
    def idle(self) -> bool:
        """Whether nothing on this node asks for an activation."""
        disk = self.disk
        switched = None if disk.generation is None else disk.generation.toplevel
        unattended = disk.journals.keys() - set(self.living_jobs)
        return not (self.wanted or self.broken or unattended or disk.spool or switched != disk.profile)

    def kill_comin(self) -> None:
        """Kill -9; systemd starts it again, and it forgets what it had only selected."""
        if self.comin_task is not None and not self.comin_task.done:
            self.faults.kill(self.comin_task)
        self.selected = self.broken = None

    def kill_activation(self) -> None:
        if self.activation_task is not None and not self.activation_task.done:
            self.faults.kill(self.activation_task)

    def kill_jobs(self, *jobs: str) -> None:
        """Kill -9 of their units; nobody but the activation starts them again."""
        for job_id in jobs:
            self.faults.kill(self.job_tasks.pop(job_id))

    def power_off(self) -> None:
        """Everything but the disk is gone."""
        self.kill_comin()
        self.kill_activation()
        self.kill_jobs(*self.living_jobs)
        self.up = False
        self.wanted = False

    def boot(self) -> None:
        self.up = True
        self.wanted = True

    def record(self, generation: Generation) -> None:
        self.faults.point()
        self.disk.generation = generation
        self.faults.point()

    def write_slice(self, content: bytes) -> None:
        self.faults.point()
        self.disk.slice = Slice.parse(content.decode(), self.name, self.name)
        self.faults.point()

    @contextmanager
    def switching(self) -> Iterator[None]:
        """The lock of a switch: comin and the activation wait for each other."""
        while self._switches:
            self.faults.leave()
        self._switches = True
        try:
            yield
        finally:
            self._switches = False

    @contextmanager
    def slot(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """One of the slots, which are free again however their holders end."""
        if self.slots >= self.config.parallel_jobs:
            on_wait()
        while self.slots >= self.config.parallel_jobs:
            self.faults.leave()
        self.slots += 1
        try:
            yield
        finally:
            self.slots -= 1

    def ensure_users(self, *_: object) -> None:
        if self.faults.happens("switch"):
            raise HostenvError("uid 1002 exists and is not hostenv's")

    def _log(self, line: str) -> None:
        self.faults.log(f"{self.name}: {line}")


class _Journals:
    """`journal_store.JournalStore` without JSON and disk."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def load(self) -> list[JobJournal]:
        return sorted(self._machine.disk.journals.values(), key=lambda journal: journal.order)

    def save(self, journal: JobJournal) -> None:
        self._machine.faults.point()
        self._machine.disk.journals[journal.job_id] = journal
        self._machine.faults.point()

    def close(self, journal: JobJournal) -> None:
        self._machine.disk.journals.pop(journal.job_id, None)


@dataclass(frozen=True)
class _Spooled:
    """`spool.SpooledDeployment` in a list."""

    machine: Machine
    deployment: Deployment

    def remove(self) -> None:
        self.machine.disk.spool.remove(self.deployment)


class _Spool:
    """The functions of `spool` that the agent uses."""

    def __init__(self, machine_of: Callable[[Config], Machine]) -> None:
        self._machine_of = machine_of

    def entries(self, config: Config) -> list[_Spooled]:
        machine = self._machine_of(config)
        return [_Spooled(machine, deployment) for deployment in machine.disk.spool]


class _Locks:
    """What of `locks` is used outside of operations."""

    def __init__(self, machine_of: Callable[[Config], Machine]) -> None:
        self._machine_of = machine_of

    def switch(self, config: Config) -> AbstractContextManager[None]:
        return self._machine_of(config).switching()

    def slot(self, config: Config, on_wait: Callable[[], None]) -> AbstractContextManager[None]:
        return self._machine_of(config).slot(on_wait)

    def forget_jobs(self, _config: Config, _open_jobs: object) -> None: ...


@contextmanager
def on_made_up_disks(machines: Mapping[str, Machine]) -> Iterator[None]:
    """Let the node's code see the disks and the comin of these machines."""

    def machine_of(config: Config) -> Machine:
        return machines[config.node]

    def by_path(path: Path) -> Machine:
        # A state folder is the node's name.
        return machines[path.parts[1]]

    def slice_hash(toplevel: Path) -> str:
        name = toplevel.name
        return machines[name[len("hostenv-") : -41]].history.find(name[-40:]).tree.slice_hash

    def write_slice(path: Path, content: bytes) -> None:
        by_path(path).write_slice(content)

    def profile_target(config: Config) -> Path | None:
        return machine_of(config).disk.profile

    def broken_commit(config: Config) -> BrokenCommit | None:
        broken = machine_of(config).broken
        return None if broken is None else BrokenCommit(broken.sha, "comin could not evaluate it")

    def ensure_users(config: Config, *wanted: object) -> None:
        machine_of(config).ensure_users(*wanted)

    def recorded(config: Config) -> Generation | None:
        return machine_of(config).disk.generation

    def record(generation: Generation, config: Config) -> None:
        machine_of(config).record(generation)

    def recorded_slice(config: Config) -> Slice | None:
        return machine_of(config).disk.slice

    replacements: list[tuple[object, str, object]] = [
        (Generation, "recorded", recorded),
        (Generation, "record", record),
        (Slice, "recorded", recorded_slice),
        (switch, "slice_hash", slice_hash),
        (switch, "write_durably", write_slice),
        *((module, "locks", _Locks(machine_of)) for module in (switch, activation, job_run)),
        (switch, "ensure_users", ensure_users),
        (switch, "profile_target", profile_target),
        (activation, "profile_target", profile_target),
        (activation, "broken_commit", broken_commit),
        *(
            (module, "JournalStore", lambda folder: _Journals(by_path(folder)))
            for module in (activation, job_run)
        ),
        (activation, "spool", _Spool(machine_of)),
    ]
    with ExitStack() as stack:
        for module, name, replacement in replacements:
            stack.enter_context(patch.object(module, name, replacement))
        yield
