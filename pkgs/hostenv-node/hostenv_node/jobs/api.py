"""The provider's HTTP API as a node uses it (contract 4)."""

import base64
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from hostenv_core.errors import HostenvError
from hostenv_core.json_value import Value

from hostenv_node.config import Config
from hostenv_node.jobs.job_status import JobSnapshot

if TYPE_CHECKING:
    import requests

    Call = Callable[..., requests.Response]

INTENT = "intent"
"""The phase of an event about all of a job's actions here."""
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 30.0
_PART_SECONDS = 300.0
_CHUNK_BYTES = 1 << 20
_MESSAGE_CHARACTERS = 4000
_MAX_OPENED = 100
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


class ApiError(HostenvError):
    """The provider answered with something that a node cannot go on with."""


class Unreachable(ApiError):
    """No usable answer in all attempts; the next run tries again."""


class Forbidden(ApiError):
    """403: the token is wrong, or this node has no part in what it asked for."""


class NotFound(ApiError):
    """404: the provider does not know the job or environment."""


class Conflict(ApiError):
    """409: the job takes no more events from this node; `state` is the job's, perhaps its verdict."""

    def __init__(self, message: str, state: str) -> None:
        super().__init__(message)
        self.state = state


@dataclass(frozen=True)
class PendingIntent:
    """An intent that waits for this node; `intent` is not checked yet."""

    job_id: str
    commit_sha: str
    intent: Mapping[str, object]


@dataclass(frozen=True)
class Event:
    """What a node tells about one action, or with phase `intent` about all of them."""

    status: str
    phase: str
    message: str | None = None
    payload: Mapping[str, object] | None = None
    action_index: int | None = None


class Api:
    """The calls of one node.

    Connection errors, 429 and 5xx are retried with growing pauses; then Unreachable is raised.

    The token file is read for every request, so that a rotated token serves without a restart. `database` is
    the series of MariaDB whose files the node can take.
    """

    def __init__(
        self, config: Config, sleep: Callable[[float], None] = time.sleep, database: str | None = None
    ) -> None:
        self._config = config
        self._sleep = sleep
        self._database = database
        self._session: requests.Session | None = None
        self._tags: dict[str, str] = {}

    def pending(self, commit_sha: str, opened: Collection[str] | None = None) -> list[PendingIntent]:
        """All intents that wait for this node at or before a commit, oldest first.

        `opened` are all jobs that this node has not closed: the provider keeps their verdicts for it.
        """
        parameters = {"sha": commit_sha}
        if self._database is not None:
            parameters["database"] = self._database
        # More would not fit into an address. Then it says nothing, and the provider keeps everything.
        if opened is not None and len(opened) <= _MAX_OPENED:
            parameters["open"] = ",".join(sorted(opened))
        answer = self._get("deploy-intents/pending", parameters)
        intents = Value(answer, "the provider's pending intents", most=None).member("intents")
        return [_pending_intent(value) for value in intents.items()]

    def job(self, job_id: str, wait: int = 0) -> JobSnapshot:
        """The job's state and all its rows.

        With `wait`, once they differ from those of the last call for this job, or after so many seconds.
        """
        known = self._tags.get(job_id) if wait else None
        answer, self._tags[job_id] = self._request(
            "GET",
            f"deploy-jobs/{quote(job_id, safe='')}/actions",
            _ANSWER_SECONDS + wait,
            parameters={"node": self._config.node, "all": "1"} | ({"wait": str(wait)} if wait else {}),
            headers={"If-None-Match": known} if known else {},
        )
        return JobSnapshot.from_json(answer)

    def backup_snapshots(self, job_id: str, source: str, user: str) -> Mapping[str, str]:
        """The snapshot ids of an environment's backup by migration key.

        Raises ApiError when that backup has not succeeded.
        """
        path = f"deploy-jobs/{quote(job_id, safe='')}/backup-snapshot"
        payload = self._get(path, {"source": source, "user": user}).get("payload")
        snapshots = payload.get("snapshots") if isinstance(payload, dict) else None
        if not isinstance(snapshots, dict):
            raise ApiError(f"there is no backup of {user} from {source} in job {job_id}")
        return {str(key): str(snapshot) for key, snapshot in snapshots.items()}

    def send_part(self, job_id: str, user: str, name: str, file: Path) -> None:
        """Give the provider a part of a live move for the other node; sent again it is replaced.

        Raises Conflict with the job's state when the job takes no more of it.
        """
        with file.open("rb") as content:

            def send(request: "Call") -> "requests.Response":
                content.seek(0)
                return request(data=content)

            path = _part_path(job_id, user, name)
            _accepted(self._attempt("PUT", path, _PART_SECONDS, self._own({}), send), f"PUT {path}")

    def fetch_part(self, job_id: str, user: str, name: str, file: Path, wait: int) -> bool:
        """Write a part that the other node gave to a file; False when it is not there in `wait` seconds."""
        parameters = self._own({"wait": str(wait)})

        def fetch(request: "Call") -> "requests.Response":
            response = request(stream=True)
            if response.status_code == 200:
                with file.open("wb") as sink:
                    for chunk in response.iter_content(_CHUNK_BYTES):
                        sink.write(chunk)
            return response

        path = _part_path(job_id, user, name)
        response = self._attempt("GET", path, _PART_SECONDS, parameters, fetch)
        if response.status_code == 404:
            return False
        if response.status_code != 200:
            _accepted(response, f"GET {path}")
        return True

    def slice(self, sha256: str) -> str:
        """This node's part of the plan, as the text that has this hash."""
        answer = self._get(f"nodes/{quote(self._config.node, safe='')}/slice", {"sha256": sha256})
        return Value(answer, "the provider's slice").member("slice").text()

    def secrets(self, user: str) -> Mapping[str, str]:
        """An environment's secrets.

        Raises Forbidden unless this node hosts it or has an open action for it.
        """
        answer = self._get(f"environments/{quote(user, safe='')}/secrets", {})
        secrets = Value(answer, f"the provider's secrets of {user}").member("secrets")
        return {key: each.text() for key, each in secrets.object().items()}

    def await_answer(self) -> None:
        """Return as soon as the provider answers, even if it refuses. Raises Unreachable."""
        try:
            self._get("deploy-intents/pending", {})
        except Unreachable:
            raise
        except ApiError:
            pass

    def post(self, job_id: str, event: Event) -> None:
        """Record an event; when this returns, the provider has made it durable.

        Raises Conflict with the job's state when the job takes no more events.
        """
        self._request(
            "POST",
            f"deploy-jobs/{quote(job_id, safe='')}/events",
            _ANSWER_SECONDS,
            body={
                "node": self._config.node,
                "status": event.status,
                "phase": event.phase,
                "message": _shortened(event.message),
                "payload": event.payload,
                "actionIndex": event.action_index,
            },
        )

    def _get(self, path: str, parameters: Mapping[str, str]) -> Mapping[str, object]:
        return self._request("GET", path, _ANSWER_SECONDS, self._own(parameters))[0]

    def _own(self, parameters: Mapping[str, str]) -> Mapping[str, str]:
        return {"node": self._config.node, **parameters}

    def _request(
        self,
        method: str,
        path: str,
        seconds: float,
        parameters: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Mapping[str, object], str]:
        """The answer and its tag."""
        response = self._attempt(
            method, path, seconds, parameters, lambda request: request(json=body), headers
        )
        return _accepted(response, f"{method} {path}"), response.headers.get("ETag", "")

    def _attempt(
        self,
        method: str,
        path: str,
        seconds: float,
        parameters: Mapping[str, str] | None,
        send: "Callable[[Call], requests.Response]",
        headers: Mapping[str, str] | None = None,
    ) -> "requests.Response":
        """What `send` gets for the request, which it may be told to send again."""
        # Imported late: it takes seconds on an emulated machine, and most commands need no network.
        from requests import RequestException, Session

        if self._session is None:
            self._session = Session()
            self._session.trust_env = False
        problem = ""
        for pause in (0.0, *_PAUSES):
            if pause:
                self._sleep(pause)
            request = partial(
                self._session.request,
                method,
                f"{self._config.api_base_url}/api/{path}",
                params=parameters,
                headers={"Authorization": f"Bearer {read_token(self._config)}", **(headers or {})},
                timeout=(_CONNECT_SECONDS, seconds),
                allow_redirects=False,
            )
            try:
                response = send(request)
            except RequestException as error:
                problem = str(error)
                continue
            if response.status_code == 429 or response.status_code >= 500:
                problem = f"status {response.status_code}: {response.text[:200]}"
                continue
            return response
        raise Unreachable(f"no usable answer from {self._config.api_base_url} to {method} {path}: {problem}")


def read_token(config: Config) -> str:
    """The node's token. Raises HostenvError when there is none."""
    try:
        token = config.token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise HostenvError(
            f"cannot read the node token: {error}; put it there (comin-tokens --show)"
        ) from error
    if not token or not token.isprintable():
        raise HostenvError(f"{config.token_file} holds no token; put it there (comin-tokens --show)")
    return token


def git_url(config: Config, repository: str) -> str:
    """Where the provider serves `<org>__<project>` for reading."""
    return f"{config.api_base_url}/git/{quote(repository, safe='')}.git"


def git_environment(config: Config) -> dict[str, str]:
    """The variables with which git may read from the provider; no secret gets into arguments or files.

    Raises HostenvError when there is no token.
    """
    account = base64.b64encode(f"{config.node}:{read_token(config)}".encode()).decode()
    return {
        "GIT_TERMINAL_PROMPT": "0",
        # Without these git waits for ever on a connection that a dead link left behind.
        "GIT_HTTP_LOW_SPEED_LIMIT": "1",
        "GIT_HTTP_LOW_SPEED_TIME": "60",
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": f"http.{config.api_base_url}/git/.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {account}",
        # git would take the token along to wherever it is sent.
        "GIT_CONFIG_KEY_1": "http.followRedirects",
        "GIT_CONFIG_VALUE_1": "false",
    }


def _part_path(job_id: str, user: str, name: str) -> str:
    return "/".join(["deploy-jobs", quote(job_id, safe=""), "transfer", quote(user, safe=""), name])


def _shortened(message: str | None) -> str | None:
    # Programs name the place first and the cause last.
    if message is None or len(message) <= _MESSAGE_CHARACTERS:
        return message
    return f"{message[: _MESSAGE_CHARACTERS // 4]} … {message[-_MESSAGE_CHARACTERS * 3 // 4 :]}"


def _accepted(response: "requests.Response", request: str) -> Mapping[str, object]:
    try:
        content = response.json()
    except ValueError:
        content = None
    answer: dict[str, object] = content if isinstance(content, dict) else {}
    reason = f"{request}: {answer.get('error') or response.text[:200] or 'no reason given'}"
    match response.status_code:
        case 200 | 201 if content is not None:
            return answer
        case 403:
            raise Forbidden(f"{request}: refused (403); check the node's token and name")
        case 404:
            raise NotFound(reason)
        case 409:
            raise Conflict(reason, str(answer.get("state")))
    raise ApiError(f"unexpected answer {response.status_code} to {reason}")


def _pending_intent(value: Value) -> PendingIntent:
    return PendingIntent(
        value.member("jobId").text(), value.member("commitSha").text(), value.member("intent").mapping()
    )
