"""The provider's machine: the real worker and verifier over a work tree, projects and a remote of values."""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import cast

from hostenv_core.errors import HostenvError
from hostenv_core.names import user_name
from hostenv_provider.plan import placement
from hostenv_provider.plan.definitions import Application, EnvironmentDefinition
from hostenv_provider.plan.plan import Environment, Plan, Source, State
from hostenv_provider.plan.settings import Node, ProviderSettings
from hostenv_provider.repository.remotes import FetchFailed
from hostenv_provider.repository.repository import PushRejected
from hostenv_provider.rules.stored import NodeCommit
from hostenv_provider.secrets.environment_secrets import EnvironmentSecrets
from hostenv_provider.store.store import Store
from hostenv_provider.work.verify import Verifier
from hostenv_provider.work.worker import Worker

from simulator.faults import Faults
from simulator.history import Commit, History, NodeTree, Tree
from simulator.scheduler import Task
from simulator.sites import Broken, Changes

JOB_TIMEOUT = 7200.0
ORGANISATION = "demo"
MIGRATION = "data"


@dataclass
class Project:
    """A customer's repository: the heads of its branches, one per environment, and what its flake says."""

    name: str
    branches: tuple[str, ...]
    heads: dict[str, int] = field(default_factory=dict)
    disabled: set[str] = field(default_factory=set)
    without_data: set[str] = field(default_factory=set)
    """Environments that name no migrations."""

    @property
    def key(self) -> str:
        return f"{ORGANISATION}__{self.name}"

    def user(self, branch: str) -> str:
        return user_name(ORGANISATION, self.name, branch)

    def definitions(self) -> dict[str, EnvironmentDefinition]:
        return {
            branch: EnvironmentDefinition(
                name=branch,
                type="production",
                enable=branch not in self.disabled,
                git_ref=branch,
                application=Application("php", "."),
                virtual_hosts={},
                users={},
                migrations=() if branch in self.without_data else (MIGRATION,),
                checks=(),
            )
            for branch in self.branches
        }


def empty_tree(nodes: Iterable[str]) -> Tree:
    """What `hostenv-provider init` commits."""
    names = tuple(nodes)
    settings = ProviderSettings(
        hostenv_hostname="demo.hostenv.test",
        node_for={"default": names[0]},
        nodes={name: Node(name) for name in names},
        placements={},
        public_url="http://provider",
    )
    return Tree(settings, Plan.empty(settings), State.empty(), {})


class WorkTree:
    """`repository.repository.Repository` over values. A crash leaves its commits; its files do not matter."""

    def __init__(self, history: History[Tree], announced: AbstractSet[str], faults: Faults) -> None:
        self._history = history
        self._announced = announced
        self._faults = faults
        self._base = history.head
        self._tree = history.head.tree
        self._with_intents: set[str] = set()

    @contextmanager
    def locked(self) -> Iterator[None]:
        self._faults.point()
        yield

    def sync(self) -> str:
        self._faults.point()
        if self._faults.happens("git"):
            raise HostenvError("git fetch: broken")
        self._base = self._history.head
        self._tree = self._base.tree
        return self._base.sha

    def read_settings(self) -> ProviderSettings:
        return self._tree.settings

    def read_plan(self) -> Plan:
        return self._tree.plan

    def read_state(self) -> State:
        return self._tree.state

    def set_node(self, user: str, node: str) -> None:
        settings = self._tree.settings
        placed = replace(settings, placements={**settings.placements, user: node})
        self._tree = replace(self._tree, settings=placed)

    def lock(self, key: str, number: int) -> None:
        """What `nix flake update` writes."""
        self._tree = replace(self._tree, locks={**self._tree.locks, key: number})

    def write_generated(self, plan: Plan, state: State) -> None:
        self._tree = replace(self._tree, plan=plan, state=state)

    def changed(self) -> bool:
        return self._tree != self._base.tree

    def commit(self, message: str, *, allow_empty: bool = False) -> str:  # noqa: ARG002
        assert allow_empty or self.changed()
        self._base = self._history.commit(self._tree, self._base)
        if allow_empty:
            # Only a commit that brings actions may be empty.
            self._with_intents.add(self._base.sha)
        return self._base.sha

    def push(self, sha: str) -> None:
        self._faults.point()
        commit = self._history.find(sha)
        if self.contains(sha):
            return
        if self._faults.happens("git"):
            raise HostenvError("git push: broken before it began")
        if not self._history.push(commit):
            raise PushRejected("main has moved")
        if sha in self._with_intents and sha not in self._announced:
            raise Broken(f"commit {commit.number} is pushed before its intents are stored")
        self._faults.log(f"provider: pushed {commit.number}")
        self._faults.point()
        if self._faults.happens("git"):
            raise HostenvError("git push: broken after it was done")

    def contains(self, sha: str) -> bool:
        return self._history.is_ancestor(self._history.find(sha), self._history.head)

    def published(self) -> object:
        return self._history.head


class NodeRepositories:
    """`node_repositories` over values, with an eye on what each node sees and when."""

    def __init__(
        self,
        history: History[Tree],
        nodes: Mapping[str, History[NodeTree]],
        store: Store,
        faults: Faults,
    ) -> None:
        self._history = history
        self._nodes = nodes
        self._store = store
        self._faults = faults
        self._made_of: dict[str, str] = {}

    def exist(self) -> bool:
        return True

    def begin(self) -> None: ...

    def nodes(self, provider_commit: str) -> Collection[str]:  # noqa: ARG002
        return self._nodes

    def slice(self, node: str, provider_commit: str) -> str:
        return self._history.find(provider_commit).tree.slices[node]

    def differs(self, node: str, provider_commit: str) -> bool:
        return self._nodes[node].head.tree != self._history.find(provider_commit).tree.of_nodes[node]

    def commit(self, node: str, provider_commit: str) -> NodeCommit:
        self._faults.point()
        if self._faults.happens("git"):
            raise HostenvError(f"{node}.git: broken")
        tree = self._history.find(provider_commit).tree.of_nodes[node]
        made = self._nodes[node].commit(tree, self._nodes[node].head)
        self._made_of[made.sha] = provider_commit
        return NodeCommit(made.sha, self.slice(node, provider_commit))

    def advance(self, node: str, commit: str) -> bool:
        self._faults.point()
        history = self._nodes[node]
        made = history.find(commit)
        if history.is_ancestor(made, history.head):
            return True
        if self._store.slice(node, made.tree.slice_hash) is None:
            raise Broken(f"{node} sees commit {made.number} before its slice is stored")
        origin = self._history.find(self._made_of.get(commit, self._history.head.sha))
        if not self._history.is_ancestor(origin, self._history.head):
            raise Broken(f"{node} sees what was not published, commit {origin.number}")
        if not history.push(made):
            return False
        self._faults.log(f"provider: {node} sees {made.number}")
        self._faults.point()
        return True


class Projects:
    """`projects` over values."""

    def __init__(self, projects: Mapping[str, Project], tree: WorkTree, faults: Faults) -> None:
        self._projects = projects
        self._tree = tree
        self._faults = faults

    def update_input(self, key: str) -> None:
        self._faults.point()
        if self._faults.happens("host"):
            raise FetchFailed(f"{key}: does not answer")
        self._tree.lock(key, sum(self._projects[key].heads.values()))

    def evaluate(self, key: str) -> dict[str, EnvironmentDefinition]:
        self._faults.point()
        if self._faults.happens("nix"):
            raise HostenvError(f"{key}: cannot be evaluated")
        return self._projects[key].definitions()

    def sources(
        self,
        key: str,
        definitions: Mapping[str, EnvironmentDefinition],
        previous: Plan,
        moves: Callable[[str], bool],
    ) -> dict[str, Source]:
        project = self._projects[key]
        recorded = {each.name: each.source for each in previous.of_project(key).values()}
        return {
            name: Source(key, name, f"{project.heads.get(name, 0):040x}", "sha256-")
            for name in placement.moving(definitions, recorded, key, moves)
        }

    def mirror(self, key: str, environments: Mapping[str, Environment]) -> None: ...


class _Secrets:
    def ensure(self, users: Iterable[str]) -> None: ...


class _Room:
    def demand_for_planning(self) -> None: ...

    def demand_for_backups(self, users: Iterable[str]) -> None: ...


class Provider:
    """The service: what survives its crash are store, repository and parts of live moves."""

    def __init__(
        self,
        history: History[Tree],
        nodes: Mapping[str, History[NodeTree]],
        projects: Mapping[str, Project],
        store: Store,
        announced: AbstractSet[str],
        faults: Faults,
    ) -> None:
        self.history = history
        self.nodes = nodes
        self.projects = projects
        self.store = store
        self.announced = announced
        self.faults = faults
        self.parts: dict[tuple[str, str, str], Changes] = {}
        """By job, user and name."""
        self.up = False
        self.worker_task: Task | None = None
        self.verifier_task: Task | None = None
        self._stopped = threading.Event()
        self._stopped.set()
        self.start()

    def start(self) -> None:
        """Start the service, again after a crash."""
        tree = WorkTree(self.history, self.announced, self.faults)
        self._worker = Worker(
            self.store,
            tree,
            NodeRepositories(self.history, self.nodes, self.store, self.faults),
            Projects(self.projects, tree, self.faults),
            cast(EnvironmentSecrets, _Secrets()),
            _Room(),
            lambda _: set(),
        )
        self.store.recover()
        self.up = True

    @property
    def behind(self) -> list[str]:
        """The nodes that do not see all that is published for them."""
        wanted = self.history.head.tree.of_nodes
        return [node for node, history in self.nodes.items() if history.head.tree != wanted[node]]

    def crash(self) -> None:
        """Kill -9."""
        for task in (self.worker_task, self.verifier_task):
            if task is not None and not task.done:
                self.faults.kill(task)
        self.up = False

    def work(self) -> None:
        """One step of the worker."""
        try:
            self._worker.step()
        except HostenvError as error:
            self.faults.log(f"provider: worker: {error}")

    def verify(self) -> None:
        """One look of the verifier at what is due; a check that does not pass is sometimes the last."""
        due = self.store.verifiable()
        if due:
            verification = due[self.faults.choose(len(due))]
            limit = 0.0 if self.faults.happens("patience") else JOB_TIMEOUT
            Verifier(self.store, limit, self._stopped).verify(verification)

    def commit_by_operator(self, change: Callable[[Tree], Tree], base: Commit[Tree] | None = None) -> None:
        """An operator pushes; from an older `base`, by merging what is there meanwhile."""
        head = self.history.head
        made = self.history.commit(change(head.tree), *([head] if base is None else [base, head]))
        assert self.history.push(made)
        self.faults.log(f"operator: pushed {made.number}{' (a merge)' if base else ''}")
