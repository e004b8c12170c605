"""Nodes: their disks and comin are made up, the switch and the agent are the real ones."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
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
from hostenv_node.jobs import agent as node_agent
from hostenv_node.jobs import api as node_api
from hostenv_node.jobs.journal import JobJournal

from simulator.faults import Faults
from simulator.history import Commit, History, NodeTree
from simulator.operations import SimulatedOperations
from simulator.scheduler import Task
from simulator.sites import Sites

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
    """One node with comin and the agent."""

    def __init__(
        self,
        name: str,
        history: History[NodeTree],
        sites: Sites,
        faults: Faults,
        began: Callable[[str], None],
    ) -> None:
        self.name = name
        self.history = history
        """This node's own repository."""
        self.faults = faults
        self.disk = Disk()
        self.up = True
        self.cut = False
        """Whether the provider cannot be reached from here, nor this node from there."""
        self.operations = SimulatedOperations(name, sites, faults, self, began)
        self.agent_task: Task | None = None
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
            action_timeout=900,
            applications={},
            tools={},
        )

    def activate(self, api: node_api.Api) -> None:
        """One run of the agent."""
        self.wanted = False
        run = node_agent.Agent(self.config, api, self.operations, self._log)
        try:
            run.run()
        except HostenvError as error:
            self._log(f"activation ends: {error}")

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
        return not (self.wanted or self.broken or disk.journals or disk.spool or switched != disk.profile)

    def kill_comin(self) -> None:
        """Kill -9; systemd starts it again, and it forgets what it had only selected."""
        if self.comin_task is not None and not self.comin_task.done:
            self.faults.kill(self.comin_task)
        self.selected = self.broken = None

    def kill_agent(self) -> None:
        if self.agent_task is not None and not self.agent_task.done:
            self.faults.kill(self.agent_task)

    def power_off(self) -> None:
        """Everything but the disk is gone."""
        self.kill_comin()
        self.kill_agent()
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
        """The lock of a switch: comin and the agent wait for each other."""
        while self._switches:
            self.faults.leave()
        self._switches = True
        try:
            yield
        finally:
            self._switches = False

    def ensure_users(self, *_: object) -> None:
        if self.faults.happens("switch"):
            raise HostenvError("uid 1002 exists and is not hostenv's")

    def _log(self, line: str) -> None:
        self.faults.log(f"{self.name}: {line}")


class _Journals:
    """`journal.JournalStore` without JSON and disk."""

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
        (switch, "locked", lambda path: by_path(path).switching()),
        (switch, "ensure_users", ensure_users),
        (switch, "profile_target", profile_target),
        (node_agent, "profile_target", profile_target),
        (node_agent, "broken_commit", broken_commit),
        (node_agent, "JournalStore", lambda folder: _Journals(by_path(folder))),
        (node_agent, "spool", _Spool(machine_of)),
    ]
    with ExitStack() as stack:
        for module, name, replacement in replacements:
            stack.enter_context(patch.object(module, name, replacement))
        yield
