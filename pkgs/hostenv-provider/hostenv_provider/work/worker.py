"""The stages of a job, from the request to the pushed commit (contract 5), carried out by one thread."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from hostenv_core import names
from hostenv_core.errors import HostenvError
from hostenv_core.lines import one_line

from hostenv_provider import dns, stop_point
from hostenv_provider.disks import free_space
from hostenv_provider.disks.free_space import NoRoom
from hostenv_provider.plan import dns_gate, host_proofs
from hostenv_provider.plan.definitions import EnvironmentDefinition
from hostenv_provider.plan.generated import slice_hash
from hostenv_provider.plan.placement import make_plan
from hostenv_provider.plan.plan import Environment, Plan, Source, State
from hostenv_provider.plan.settings import ProviderSettings
from hostenv_provider.repository.remotes import FetchFailed
from hostenv_provider.repository.repository import PushRejected
from hostenv_provider.rules.intents import derive_actions, verify_actions
from hostenv_provider.rules.jobs import Request
from hostenv_provider.rules.stored import Job, NodeCommit, Prepared, Target
from hostenv_provider.secrets.environment_secrets import EnvironmentSecrets
from hostenv_provider.store.database import DatabaseError
from hostenv_provider.store.store import Store

_log = logging.getLogger(__name__)

MAX_ATTEMPTS = 10
"""How many times a job is planned again when its push is rejected, usually because of another push."""


_MAX_NOTE = 2000


class WorkTree(Protocol):
    """What the stages need of the provider repository (`repository.repository.Repository`)."""

    def locked(self) -> AbstractContextManager[None]: ...
    def sync(self) -> str: ...
    def read_settings(self) -> ProviderSettings: ...
    def read_plan(self) -> Plan: ...
    def read_state(self) -> State: ...
    def set_node(self, user: str, node: str) -> None: ...
    def write_generated(self, plan: Plan, state: State) -> None: ...
    def changed(self) -> bool: ...
    def commit(self, message: str, *, allow_empty: bool = False) -> str: ...
    def push(self, sha: str) -> None: ...
    def contains(self, sha: str) -> bool: ...
    def published(self) -> object: ...


class Nodes(Protocol):
    """What the worker needs of `repository.node_repositories`, which it alone writes."""

    def exist(self) -> bool: ...
    def begin(self) -> None: ...
    def nodes(self, provider_commit: str) -> Collection[str]: ...
    def slice(self, node: str, provider_commit: str) -> str: ...
    def differs(self, node: str, provider_commit: str) -> bool: ...
    def commit(self, node: str, provider_commit: str) -> NodeCommit: ...
    def advance(self, node: str, commit: str) -> bool: ...


class Room(Protocol):
    """What the stages ask about disks (`disks.free_space.Disks`)."""

    def demand_for_planning(self) -> None: ...
    def demand_for_backups(self, users: Iterable[str]) -> None: ...


class ProjectSources(Protocol):
    """What the stages need of the projects' flakes and sources (`repository.projects.Projects`)."""

    def update_input(self, key: str) -> None: ...
    def evaluate(self, key: str) -> dict[str, EnvironmentDefinition]: ...
    def sources(
        self,
        key: str,
        definitions: Mapping[str, EnvironmentDefinition],
        previous: Plan,
        moves: Callable[[str], bool],
    ) -> dict[str, Source]: ...
    def mirror(self, key: str, environments: Mapping[str, Environment]) -> None: ...


class Worker:
    """Takes jobs from the store one after the other."""

    def __init__(
        self,
        store: Store,
        repository: WorkTree,
        nodes: Nodes,
        projects: ProjectSources,
        secrets: EnvironmentSecrets,
        room: Room,
        addresses_of: dns_gate.Lookup = dns.addresses_of,
        names_of: dns_gate.Lookup = dns.names_of,
    ) -> None:
        self._store = store
        self._repository = repository
        self._nodes = nodes
        self._projects = projects
        self._secrets = secrets
        self._room = room
        self._addresses_of = addresses_of
        self._names_of = names_of
        self._attempts: dict[str, int] = {}
        self._interrupted: str | None = None
        self._brought: object = None
        self._behind: list[str] = []

    def step(self) -> bool:
        """Push what a crash left unpushed, or bring the nodes what others pushed, else run the next job.

        False if there was nothing to do. An exception means that the database, the lock, the remote or a
        node's repository does not answer; the next step goes on from what is recorded.
        """
        if self._interrupted is not None:
            self._store.plan_again(self._interrupted)
            self._interrupted = None
        self._convert()
        unpushed = self._store.unpushed()
        if unpushed:
            # Commits in their order: what is planned next starts from the remote's head.
            with self._repository.locked():
                self._push_waiting(unpushed[0].job_id, unpushed[0].commit_sha or "")
            return True
        if self._bring():
            return True
        job = self._store.take_next()
        if job is None:
            if self._behind:
                behind, self._brought, self._behind = self._behind, None, []
                raise HostenvError("; ".join(behind))
            return False
        self._interrupted = job.job_id
        with self._repository.locked():
            prepared = self._prepare_or_fail(job)
            self._interrupted = None
            if prepared is not None:
                self._push_waiting(job.job_id, prepared.commit_sha)
        return True

    def _convert(self) -> None:
        """From a version before: its nodes follow the provider's repository until they come to their own."""
        if self._nodes.exist() or self._repository.published() is None:
            return
        with self._repository.locked():
            self._store.begin_following(self._nodes.nodes(self._repository.sync()))
            self._nodes.begin()

    def _bring(self) -> bool:
        """Let each node see what is published, if it differs for that node; False if nothing is new.

        So nodes also see what no job brings: an operator's push, a new node, a change without actions. A
        repository that cannot be written holds up nobody else: it is tried again when no job waits.
        """
        published = self._repository.published()
        if published is None or published == self._brought:
            return False
        self._behind = []
        try:
            with self._repository.locked():
                head = self._repository.sync()
                for node in self._nodes.nodes(head):
                    self._bring_to(node, head)
        except HostenvError as error:
            self._behind.append(str(error))
        self._brought = published
        return True

    def _bring_to(self, node: str, head: str) -> None:
        try:
            if self._nodes.differs(node, head):
                made = self._nodes.commit(node, head)
                self._store.keep_slice(node, made.slice)
                stop_point.reached("bring")
                self._nodes.advance(node, made.sha)
            elif self._store.slice(node, slice_hash(text := self._nodes.slice(node, head))) is None:
                # The database is an older one than the repository.
                self._store.keep_slice(node, text)
        except HostenvError as error:
            self._behind.append(f"{node} does not see commit {head[:12]}: {error}")

    def _prepare_or_fail(self, job: Job) -> Prepared | None:
        """A job that waits, not yet pushed; None if it ended or goes back to the queue."""
        try:
            with free_space.said_in_words():
                prepared = self._prepare(job)
            if prepared is not None:
                self._store.start_waiting(job.job_id, prepared)
            return prepared
        except PushRejected as error:
            self._plan_again(job.job_id, str(error))
        except (FetchFailed, NoRoom) as error:
            # It waits in the queue and not here, so that it holds up nobody else.
            pause = self._store.postpone(job.job_id, str(error))
            then = "failed" if pause is None else f"tried again in {pause:.0f} s"
            _log.warning("job %s: %s: %s", job.job_id, then, error)
        except HostenvError as error:
            self._fail(job, str(error))
        except DatabaseError:
            raise
        except Exception as error:
            _log.exception("job %s: internal error", job.job_id)
            self._fail(job, f"internal error: {error!r}; the service's log tells more")
        return None

    def _fail(self, job: Job, error: str) -> None:
        current = self._store.job(job.job_id)
        stage = current.stage if current is not None else None
        self._store.fail(job.job_id, f"{stage or 'start'}: {error}")
        _log.warning("job %s: failed in stage %s: %s", job.job_id, stage, error)

    def _push_waiting(self, job_id: str, sha: str) -> None:
        stop_point.reached("push")
        try:
            self._repository.push(sha)
        except HostenvError as error:
            if not self._repository.contains(sha):
                # Nobody has seen the commit, so it can be forgotten, whatever was in its way.
                self._plan_again(job_id, str(error))
                return
        stop_point.reached("pushed")
        self._attempts.pop(job_id, None)
        try:
            self._advance(job_id, sha)
        except HostenvError as error:
            self._store.fail(job_id, f"push: {error}")
            _log.warning("job %s: failed after its push: %s", job_id, error)
            return
        self._store.mark_pushed(job_id)
        _log.info("job %s: pushed %s", job_id, sha)

    def _advance(self, job_id: str, sha: str) -> None:
        """Let each node of the job see its commit."""
        for node, commit in self._store.node_commits(job_id).items():
            if commit is None or not self._nodes.advance(node, commit):
                # Of an earlier version, which made none, or the repository is not what it was.
                made = self._nodes.commit(node, sha)
                self._store.replace_commit(job_id, node, made)
                self._nodes.advance(node, made.sha)
            stop_point.reached("advanced")

    def _plan_again(self, job_id: str, error: str) -> None:
        attempts = self._attempts.pop(job_id, 0) + 1
        if attempts >= MAX_ATTEMPTS:
            self._store.fail(job_id, f"push: failed {attempts} times: {error}")
            return
        self._attempts[job_id] = attempts
        _log.info("job %s: planned again, since its commit was not pushed: %s", job_id, error)
        self._store.plan_again(job_id)

    def _stage(self, job: Job, stage: str) -> None:
        _log.info("job %s: stage %s", job.job_id, stage)
        self._store.set_stage(job.job_id, stage)
        stop_point.reached(stage)

    def _prepare(self, job: Job) -> Prepared | None:
        """Run the stages; None if the job ended with them, because no node has anything to do."""
        key, request = job.request.project, job.request
        self._stage(job, "sync_repository")
        self._room.demand_for_planning()
        self._repository.sync()
        previous, state = self._repository.read_plan(), self._repository.read_state()
        for user, node in sorted(request.placements.items()):
            self._repository.set_node(user, node)

        self._stage(job, "update_flake")
        if request.refs is None or request.refs:
            self._projects.update_input(key)

        self._stage(job, "generate_plan")
        settings = self._repository.read_settings()
        definitions = self._projects.evaluate(key)
        sources = self._sources(request, definitions, previous)
        organisation, project = names.parse_input_name(key)
        limit = dns_gate.TimeLimit(time.monotonic)
        aliases = host_proofs.look_up(key, settings, definitions, state, self._names_of, limit)
        plan, state, left_out = make_plan(
            settings, organisation, project, definitions, sources, previous, state, aliases
        )

        self._stage(job, "dns_gate")
        addresses = settings.addresses
        plan, warnings = dns_gate.apply(plan, addresses, self._addresses_of, plan.of_project(key), limit)
        warnings = [*left_out, *warnings]
        if warnings:
            _log.warning("job %s: %s", job.job_id, "; ".join(warnings))
            self._store.note(job.job_id, one_line("; ".join(warnings), _MAX_NOTE))

        self._stage(job, "load_plan")
        self._repository.write_generated(plan, state)
        planned = plan.of_project(key)

        self._stage(job, "resolve_nodes")
        deployed, stale = self._store.deployed(key), self._store.stale(key)
        _check_nodes(
            addresses,
            {deployment.node for deployment in deployed.values()}
            | set().union(*stale.values())
            | set(request.migration_sources.values()),
        )

        self._stage(job, "derive_intents")
        actions = derive_actions(
            deployed,
            planned,
            stale,
            request.migration_sources,
            request.skip_migrations,
            request.accept_loss,
            self._store.databases(),
        )
        verifications = verify_actions(actions)
        backups = {action.user for intent in actions.values() for action in intent if action.op == "backup"}
        if backups:
            self._room.demand_for_backups(sorted(backups))

        self._stage(job, "write_deploy_intent")
        targets = [_target(planned[action.user], addresses) for action in verifications]
        self._secrets.ensure(user for user, environment in planned.items() if environment.enable)

        self._stage(job, "finalize_repository")
        self._projects.mirror(key, planned)
        message = f"Deploy {key} ({job.job_id})"
        if actions:
            # Without a change of files too: comin acts on new commits only.
            sha = self._repository.commit(message, allow_empty=True)
            commits = {node: self._nodes.commit(node, sha) for node in actions}
            return Prepared(sha, actions, verifications, targets, commits)
        self._finish_without_actions(job, message)
        return None

    def _finish_without_actions(self, job: Job, message: str) -> None:
        sha = None
        if self._repository.changed():
            sha = self._repository.commit(message)
            self._repository.push(sha)
        self._store.succeed(job.job_id, sha)

    def _sources(
        self, request: Request, definitions: Mapping[str, EnvironmentDefinition], previous: Plan
    ) -> dict[str, Source]:
        key = request.project
        sources = self._projects.sources(
            key, definitions, previous, lambda ref: request.moves(names.branch(ref))
        )
        for user in request.rollbacks:
            deployment = self._store.deployment(user)
            environment = previous.environments.get(user)
            if deployment is None or deployment.previous_source is None or environment is None:
                raise HostenvError(f"{user} has no release to go back to")
            sources[environment.name] = _source(deployment.previous_source)
        return sources


def _check_nodes(known: Collection[str], needed: Iterable[str]) -> None:
    for node in sorted(set(needed)):
        if node not in known:
            raise HostenvError(
                f"provider.json: node {node} still holds environments: keep it in nodes until they have moved"
            )


def _target(environment: Environment, addresses: Mapping[str, str]) -> Target:
    return Target(addresses[environment.node], environment)


def _source(repo: Mapping[str, object]) -> Source:
    return Source(str(repo["url"]), str(repo["ref"]), str(repo["rev"]), str(repo["narHash"]))
