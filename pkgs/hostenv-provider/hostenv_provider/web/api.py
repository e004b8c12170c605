"""The routes of the HTTP API (contract 4): each takes a request and gives an answer or raises HttpError."""

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar
from urllib.parse import unquote

from hostenv_core import names
from hostenv_core.errors import HostenvError
from hostenv_core.lines import one_line
from hostenv_core.states import ENDED, Status

from hostenv_provider.config import Config
from hostenv_provider.disks.free_space import Disks
from hostenv_provider.disks.parts import Parts
from hostenv_provider.plan.lock_file import LOCK, Input
from hostenv_provider.plan.plan import Plan
from hostenv_provider.repository.repository import NotBootstrapped
from hostenv_provider.rules.jobs import INTENT_PHASE, Conflict, Event, Malformed, Request
from hostenv_provider.rules.stored import Delivery, Job
from hostenv_provider.secrets import webhook_secrets
from hostenv_provider.secrets.backup_accounts import BackupAccounts
from hostenv_provider.secrets.environment_secrets import EnvironmentSecrets
from hostenv_provider.secrets.tokens import TokenFile
from hostenv_provider.store.store import Store
from hostenv_provider.web import webhook
from hostenv_provider.web.access import PUBLIC_MARK, Access
from hostenv_provider.web.backup_access import BackupAccess
from hostenv_provider.web.messages import (
    MAX_BODY,
    HttpAnswer,
    HttpError,
    HttpRequest,
    optional_flag,
    optional_string,
)
from hostenv_provider.web.renewal import Renewal
from hostenv_provider.web.transfers import MAX_PART, Transfers

MAX_MESSAGE = 2000
"""How many characters of an event's message are kept."""

MAX_DELIVERY = 25 * 1024 * 1024
"""The most bytes of a webhook that are accepted: Git hosts send up to 25 MB (contract 4)."""

MAX_EVENT = 64 * 1024
"""The most bytes of a node's event that are accepted: a message, and a backup's snapshots."""

_MAX_INDEX = 100_000
_JOBS_SHOWN = 50
_MAX_NAME = 80
_MAX_OPENED = 200
_SERIES = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}")


class PublishedRepository(Protocol):
    """What the API needs to know of the provider repository, without its lock."""

    def published_plan(self) -> Plan: ...

    def published_inputs(self) -> dict[str, Input]: ...

    def is_ancestor(self, older: str, newer: str) -> bool: ...


class NodeHistories(Protocol):
    """What the API needs to know of the nodes' own repositories."""

    def is_ancestor(self, node: str, older: str, newer: str) -> bool: ...


Handler = Callable[..., HttpAnswer]
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Route:
    """`{name}` in a pattern is one segment of the path and a keyword argument of the handler."""

    method: str
    pattern: str
    handler: Handler
    socket_only: bool = False
    max_body: int = MAX_BODY

    def match(self, path: str) -> dict[str, str] | None:
        expression = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(self.pattern))
        found = re.fullmatch(expression, path)
        return None if found is None else {key: unquote(value) for key, value in found.groupdict().items()}


class Api:
    """Answers requests from the store, the published plan and the secrets.

    `problem` says what is wrong with the service, or None; `/health` reports it.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        repository: PublishedRepository,
        nodes: NodeHistories,
        disks: Disks,
        problem: Callable[[], str | None],
    ) -> None:
        self._config = config
        self._store = store
        self._repository = repository
        self._nodes = nodes
        self._problem = problem
        tokens = TokenFile(config)
        self._access = Access(tokens, store, lambda: self._plan().nodes)
        self._secrets = EnvironmentSecrets(config)
        self._disks = disks
        self._accounts = BackupAccounts(config, store, self._secrets)
        backups = BackupAccess(self._accounts, disks.quota, store, self._secrets)
        transfers = Transfers(Parts(config.transfers_dir), store, self._access)
        renewal = Renewal(tokens, store, self._secrets, self._accounts)
        # Versions of jobs count from 0 in every run of the service; a tag of another run must not match.
        self._run = secrets.token_hex(4)
        job = "/api/deploy-jobs/{job_id}"
        self.routes = (
            Route("POST", "/webhook/{project_hash}", self._webhook, max_body=MAX_DELIVERY),
            Route("GET", "/api/deploy-intents/by-sha", self._intent_by_sha),
            Route("GET", "/api/deploy-intents/pending", self._pending_intents),
            Route("GET", f"{job}/intents/{{node}}", self._intent),
            Route("GET", f"{job}/status", self._status),
            Route("GET", f"{job}/statuses", self._statuses),
            Route("GET", f"{job}/actions", self._actions),
            Route("GET", f"{job}/backup-snapshot", self._backup_snapshot),
            Route("POST", f"{job}/events", self._event, max_body=MAX_EVENT),
            Route("PUT", f"{job}/transfer/{{user}}/{{name}}", transfers.put, max_body=MAX_PART),
            Route("GET", f"{job}/transfer/{{user}}/{{name}}", transfers.get),
            Route("GET", "/api/nodes/{node}/slice", self._slice),
            Route("GET", "/api/environments/{user}/secrets", self._environment_secrets),
            Route("GET", "/health", self._health),
            Route("GET", "/api/jobs", self._jobs, socket_only=True),
            Route("GET", "/api/jobs/{job_id}", self._job, socket_only=True),
            Route("POST", "/api/jobs", self._start_job, socket_only=True),
            Route("POST", "/api/jobs/{job_id}/cancel", self._cancel, socket_only=True),
            Route("GET", "/api/git-access", self._access.git, socket_only=True),
            Route("GET", "/api/backup-access", backups.answer, socket_only=True),
            Route("POST", "/api/backup-accounts/replace", renewal.backups, socket_only=True),
            Route("POST", "/api/nodes/{node}/compromised", renewal.compromised, socket_only=True),
        )

    def answer(self, request: HttpRequest) -> HttpAnswer:
        """Find the route and let it answer; every HttpError becomes its answer."""
        try:
            return self._dispatch(request)
        except HttpError as error:
            return error.answer()

    def _dispatch(self, request: HttpRequest) -> HttpAnswer:
        allowed = []
        for route in self.routes:
            arguments = route.match(request.path)
            if arguments is None or (route.socket_only and PUBLIC_MARK in request.headers):
                continue
            if route.method == request.method:
                if request.length > route.max_body:
                    raise HttpError(413, f"the body is larger than {route.max_body} bytes")
                return route.handler(request, **arguments)
            allowed.append(route.method)
        if allowed:
            raise HttpError(405, f"{request.method} is not possible here", {"Allow": ", ".join(allowed)})
        raise HttpError(404, "no such resource")

    # Webhooks

    def _webhook(self, request: HttpRequest, project_hash: str) -> HttpAnswer:
        plan = self._plan()
        projects = webhook.projects_of_hash(plan, project_hash)
        if len(projects) > 1:
            raise HttpError(500, f"the hash belongs to several projects: {', '.join(projects)}")
        project = projects[0] if projects else None
        # Nobody knows the secret of a hash that no environment has: a stranger is not told what is hosted.
        secret = None if project is None else webhook_secrets.read(self._config, project)
        signature = webhook.check_signature(secret, request.headers, request.body)
        if project is None or secret is None or not signature.passes:
            raise HttpError(401, signature.value)
        if secret.previous and signature is webhook.Signature.VALID:
            webhook_secrets.forget_previous(self._config, project, secret)
        said = webhook.parse(request.headers, request.body())
        if isinstance(said, webhook.Ignored):
            return HttpAnswer(202, {"accepted": False, "reason": said.reason})
        if not webhook.follows(plan.of_project(project).values(), said) and not self._plans(project, said):
            reason = (
                f"no enabled environment of {project} follows {said.ref}, nor is its flake read from there"
            )
            return HttpAnswer(202, {"accepted": False, "reason": reason})
        self._disks.demand_for_new_job()
        delivery_id = webhook.delivery_id(request.headers, secret, said)
        enqueued = self._store.enqueue(
            Request(project, refs=None if said.ref is None else frozenset({said.ref})),
            None if delivery_id is None else Delivery(project_hash, delivery_id),
        )
        return HttpAnswer(202, {"accepted": True, "jobId": enqueued.job_id})

    # What nodes ask

    def _intent_by_sha(self, request: HttpRequest) -> HttpAnswer:
        sha, node = request.sha(), request.parameter("node")
        self._access.require_node(request, node)
        for waiting in self._store.waiting_intents(node):
            if sha in (waiting.commit_sha, waiting.provider_commit):
                return HttpAnswer(200, {**waiting.to_json(sha), "node": node})
        raise HttpError(404, f"no intent of {node} waits at this commit")

    def _pending_intents(self, request: HttpRequest) -> HttpAnswer:
        sha, node = request.sha(), request.parameter("node")
        self._access.require_node(request, node)
        opened = request.query.get("open")
        # If this is lost, jobs are only kept longer.
        if opened is not None and opened.count(",") < _MAX_OPENED:
            self._store.hear_open_jobs(node, opened.split(","))
        database = request.query.get("database")
        if database is not None:
            if not _SERIES.fullmatch(database):
                raise HttpError(400, "query parameter database must be a series of MariaDB, such as 11.8")
            self._store.hear_database(node, database)
        all_waiting = self._store.waiting_intents(node)
        # A commit is in its own history: otherwise the node still follows the provider's repository.
        follows_own = bool(all_waiting) and self._nodes.is_ancestor(node, sha, sha)
        intents = []
        for waiting in all_waiting:
            if follows_own:
                commit = waiting.commit_sha
                seen = self._nodes.is_ancestor(node, commit, sha)
            else:
                commit = waiting.provider_commit
                seen = self._repository.is_ancestor(commit, sha)
            if seen:
                intents.append(waiting.to_json(commit))
        return HttpAnswer(200, {"node": node, "intents": intents})

    def _intent(self, request: HttpRequest, job_id: str, node: str) -> HttpAnswer:
        self._access.require_node(request, node)
        intent = self._store.intent(job_id, node)
        if intent is None:
            raise HttpError(404, f"{node} has no intent in this job")
        return HttpAnswer(200, {"jobId": job_id, "node": node, "intent": intent})

    def _status(self, request: HttpRequest, job_id: str) -> HttpAnswer:
        node, _ = self._node_of_job(request, job_id)
        events = self._store.latest_events(job_id, node)
        status = events[0].to_json() if events else None
        return HttpAnswer(200, {"jobId": job_id, "node": node, "status": status})

    def _statuses(self, request: HttpRequest, job_id: str) -> HttpAnswer:
        node, _ = self._node_of_job(request, job_id)
        statuses = [event.to_json() for event in self._store.latest_events(job_id)]
        return HttpAnswer(200, {"jobId": job_id, "node": node, "statuses": statuses})

    def _actions(self, request: HttpRequest, job_id: str) -> HttpAnswer:
        node, _ = self._node_of_job(request, job_id)
        job, tag = self._after_change(request, job_id)
        rows = self._store.actions(job_id, None if request.query.get("all") == "1" else node)
        return HttpAnswer(
            200,
            {"jobId": job_id, "node": node, "state": job.state, "actions": [row.to_json() for row in rows]},
            {"ETag": tag},
        )

    def _backup_snapshot(self, request: HttpRequest, job_id: str) -> HttpAnswer:
        source, user = request.parameter("source"), request.parameter("user")
        node, job = self._node_of_job(request, job_id)
        deadline = time.monotonic() + request.wait()
        while True:
            version = self._store.version(job_id)
            payload = self._store.backup_payload(job_id, source, user)
            left = deadline - time.monotonic()
            if payload is not None or left <= 0 or job.state in ENDED:
                break
            self._store.wait(version, left, job_id)
            job = self._existing_job(job_id)
        return HttpAnswer(
            200, {"jobId": job_id, "node": node, "sourceNode": source, "user": user, "payload": payload}
        )

    def _event(self, request: HttpRequest, job_id: str) -> HttpAnswer:
        self._access.require_any_node(request)
        event = _read_event(request)
        self._access.require_node(request, event.node)
        outcome = self._store.record_event(job_id, self._explained(job_id, event))
        if outcome is None:
            raise HttpError(404, f"{event.node} has no intent in this job")
        if isinstance(outcome, Malformed):
            raise HttpError(400, outcome.error)
        if isinstance(outcome, Conflict):
            return HttpAnswer(409, {"error": outcome.error, "state": outcome.state})
        return HttpAnswer(
            200, {"jobId": job_id, "node": event.node, "state": self._existing_job(job_id).state}
        )

    def _explained(self, job_id: str, event: Event) -> Event:
        """A failed backup's event, with the reason of the refusal, which the node was not told."""
        if event.status is not Status.FAILED:
            return event
        for record in self._store.actions(job_id, event.node):
            action = record.row.action
            if record.row.index == event.action_index and action.op == "backup":
                refusal = self._disks.quota.refusal(action.user)
                if refusal is not None:
                    said = one_line(f"{refusal} ({event.message or 'failed'})", MAX_MESSAGE)
                    return replace(event, message=said)
        return event

    def _slice(self, request: HttpRequest, node: str) -> HttpAnswer:
        self._access.require_node(request, node)
        sha256 = request.parameter("sha256").lower()
        text = self._store.slice(node, sha256)
        if text is None:
            raise HttpError(404, f"{node} has no slice {sha256[:_MAX_NAME]}, or had it long ago")
        return HttpAnswer(200, {"node": node, "sha256": sha256, "slice": text})

    def _environment_secrets(self, request: HttpRequest, user: str) -> HttpAnswer:
        node = request.parameter("node")
        self._access.require_node(request, node)
        found = self._secrets.read(user)
        if found is None:
            raise HttpError(404, "no such environment")
        account = self._accounts.hand_out(node, user)
        if account is None:
            raise HttpError(403, "forbidden")
        return HttpAnswer(200, {"user": user, "secrets": {**found, **account}})

    # What people and monitoring ask

    def _health(self, request: HttpRequest) -> HttpAnswer:  # noqa: ARG002
        problem = self._problem()
        if problem is not None:
            raise HttpError(503, problem)
        return HttpAnswer(200, {"status": "ok", "jobs": self._store.counts()})

    def _jobs(self, request: HttpRequest) -> HttpAnswer:  # noqa: ARG002
        recent = self._store.recent_jobs(_JOBS_SHOWN)
        return HttpAnswer(200, {"jobs": [self._shown(job) for job in recent]})

    def _job(self, request: HttpRequest, job_id: str) -> HttpAnswer:
        job, tag = self._after_change(request, job_id)
        return HttpAnswer(200, self._shown(job), {"ETag": tag})

    def _start_job(self, request: HttpRequest) -> HttpAnswer:
        document = request.document()
        name = optional_string(document, "environment")
        if name is None or not name.strip():
            raise HttpError(400, "environment is missing: a user name or <org>__<project>/<environment>")
        node = optional_string(document, "node")
        source = optional_string(document, "migrationSource")
        skip_migrations = optional_flag(document, "skipMigrations")
        accept_loss = optional_flag(document, "acceptLoss")
        rollback = optional_flag(document, "rollback")
        plan = self._plan()
        try:
            environment = plan.resolve(name)
        except HostenvError as error:
            raise HttpError(404, str(error)) from error
        for key, value in (("node", node), ("migrationSource", source)):
            if value is not None and value not in plan.nodes:
                raise HttpError(
                    400, f"{key} {value[:80]!r} is not a node; there are: {', '.join(plan.nodes)}"
                )
        user, git_ref = environment.user_name, names.branch(environment.source.ref)
        if rollback:
            if node is not None or source is not None or skip_migrations or accept_loss:
                raise HttpError(400, "rollback changes the code only: give it alone")
            deployment = self._store.deployment(user)
            if deployment is None or deployment.previous_source is None:
                raise HttpError(400, f"{user} has no release before the deployed one")
        self._disks.demand_for_new_job()
        enqueued = self._store.enqueue(
            Request(
                project=environment.project_key,
                refs=frozenset() if rollback or node is not None else frozenset({git_ref}),
                placements={} if node is None else {user: node},
                migration_sources={} if source is None else {user: source},
                skip_migrations=frozenset({user}) if skip_migrations else frozenset(),
                accept_loss=frozenset({user}) if accept_loss else frozenset(),
                rollbacks={user: git_ref} if rollback else {},
            )
        )
        return HttpAnswer(202, {"accepted": True, "jobId": enqueued.job_id})

    def _cancel(self, request: HttpRequest, job_id: str) -> HttpAnswer:
        by = one_line(optional_string(request.document(), "by") or "", _MAX_NAME)
        if not by:
            raise HttpError(400, "by is missing: who ends the job")
        self._existing_job(job_id)
        outcome = self._store.cancel(job_id, by)
        if isinstance(outcome, Conflict):
            return HttpAnswer(409, {"error": outcome.error, "state": outcome.state})
        return HttpAnswer(200, {"jobId": job_id, "state": outcome.state})

    # Shared steps

    def _plan(self) -> Plan:
        return _published(self._repository.published_plan, "the plan")

    def _plans(self, project: str, push: webhook.Push) -> bool:
        flake = _published(self._repository.published_inputs, LOCK).get(project)
        return flake is not None and webhook.plans(flake, push)

    def _shown(self, job: Job) -> dict[str, object]:
        store = self._store
        return job.to_json(store.actions(job.job_id), store.notes(job.job_id), store.waits_for(job))

    def _existing_job(self, job_id: str) -> Job:
        job = self._store.job(job_id)
        if job is None:
            raise HttpError(404, f"no such job, or it ended over {self._config.job_retention} days ago")
        return job

    def _node_of_job(self, request: HttpRequest, job_id: str) -> tuple[str, Job]:
        node = request.parameter("node")
        self._access.require_node(request, node)
        if self._store.intent(job_id, node) is None:
            raise HttpError(404, f"{node} has no intent in this job")
        return node, self._existing_job(job_id)

    def _after_change(self, request: HttpRequest, job_id: str) -> tuple[Job, str]:
        """The job, held back as `wait` says, and the tag of what is answered from now on."""
        wait = request.wait()
        version = self._store.version(job_id)
        job = self._existing_job(job_id)
        # A client that sends back the tag of the last answer misses no change between two requests.
        known = request.headers.get("if-none-match")
        if wait and job.state not in ENDED and known in (None, self._tag(version)):
            self._store.wait(version, wait, job_id)
            version = self._store.version(job_id)
            job = self._existing_job(job_id)
        return job, self._tag(version)

    def _tag(self, version: int) -> str:
        return f'"{self._run}-{version}"'


def _published(read: Callable[[], _Read], what: str) -> _Read:
    try:
        return read()
    except NotBootstrapped as error:
        raise HttpError(503, str(error)) from error
    except HostenvError as error:
        raise HttpError(500, f"{what} cannot be read: {error}") from error


def _read_event(request: HttpRequest) -> Event:
    document = request.document()
    node = document.get("node")
    if not isinstance(node, str) or not node.strip():
        raise HttpError(400, "node is missing or blank")
    status = document.get("status", Status.RUNNING.value)
    try:
        parsed = Status(status.strip().lower() if isinstance(status, str) else "")
    except ValueError:
        raise HttpError(400, f"status must be one of: {', '.join(Status)}") from None
    message = optional_string(document, "message")
    payload = document.get("payload")
    if payload is not None and not isinstance(payload, dict):
        raise HttpError(400, "payload must be an object")
    index = document.get("actionIndex")
    if index is not None and (
        not isinstance(index, int) or isinstance(index, bool) or not 0 <= index <= _MAX_INDEX
    ):
        raise HttpError(400, "actionIndex must be the place of an action in the intent, from 0")
    return Event(
        node=node.strip(),
        status=parsed,
        phase=optional_string(document, "phase") or INTENT_PHASE,
        message=None if message is None else one_line(message, MAX_MESSAGE),
        payload=payload,
        action_index=index,
    )
