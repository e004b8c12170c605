"""What nobody should send, to every route of the real server: refused, without a trace (contract 4)."""

import json
import re
import socket
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hostenv_provider.secrets import webhook_secrets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SHA = "0" * 39 + "2"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "BREW", "*")
# Every route of contract 4, with the values that make it answer.
ROUTES = {
    "/webhook/{hash}": ("POST", ""),
    "/api/deploy-intents/by-sha": ("GET", f"sha={SHA}&node=node-a"),
    "/api/deploy-intents/pending": ("GET", f"sha={SHA}&node=node-a"),
    "/api/deploy-jobs/{job}/intents/node-a": ("GET", ""),
    "/api/deploy-jobs/{job}/status": ("GET", "node=node-a"),
    "/api/deploy-jobs/{job}/statuses": ("GET", "node=node-a"),
    "/api/deploy-jobs/{job}/actions": ("GET", "node=node-a&all=1"),
    "/api/deploy-jobs/{job}/backup-snapshot": ("GET", "node=node-a&source=node-a&user={user}"),
    "/api/deploy-jobs/{job}/events": ("POST", ""),
    "/api/environments/{user}/secrets": ("GET", "node=node-a"),
    "/health": ("GET", ""),
    "/api/jobs": ("GET, POST", ""),
    "/api/jobs/{job}": ("GET", ""),
    "/api/jobs/{job}/cancel": ("POST", ""),
    "/api/git-access": ("GET", ""),
    "/api/backup-access": ("GET", ""),
}
routes = pytest.mark.parametrize("route", ROUTES)
asking = pytest.mark.parametrize(
    "route", [route for route, (methods, _) in ROUTES.items() if "GET" in methods]
)
telling = pytest.mark.parametrize(
    "route", [route for route, (methods, _) in ROUTES.items() if "POST" in methods]
)


@dataclass
class Target:
    """The server with a waiting job, and an eye on its database."""

    api: Any
    names: dict[str, str]
    eye: sqlite3.Connection

    def path(self, route: str) -> str:
        return route.format_map(self.names)

    def query(self, route: str) -> str:
        return ROUTES[route][1].format_map(self.names)

    def token(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api.tokens.show('node-a')}"}

    def commits(self) -> int:
        """A number that changes when anybody commits a change."""
        return int(self.eye.execute("PRAGMA data_version").fetchone()[0])

    def raw(self, request: bytes) -> bytes:
        """Everything that the server sends until it closes."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(self.api.config.socket))
            received = b""
            try:
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
                while chunk := connection.recv(65536):
                    received += chunk
            except ConnectionError:
                # It was told enough before everything was sent.
                pass
            return received


@pytest.fixture
def target(api: Any, job: str) -> Iterator[Target]:
    webhook_secrets.create(api.config, "demo__drupal")
    user, environment = next(iter(api.published.plan.environments.items()))
    names = {"job": job, "user": user, "hash": environment.project_name_hash}
    # The first time it is recorded, and made.
    assert api.get(f"/api/environments/{user}/secrets?node=node-a").status == 200
    eye = sqlite3.connect(api.provider.path)
    yield Target(api, names, eye)
    eye.close()


@pytest.fixture
def unchanged(target: Target, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The database is as it was, no file has come or gone, and the service had nothing to complain about."""
    before, files = target.commits(), sorted(Path(target.api.config.data_dir).rglob("*"))
    yield
    assert target.commits() == before
    assert sorted(Path(target.api.config.data_dir).rglob("*")) == files
    assert caplog.get_records("call") == []


@routes
@pytest.mark.usefixtures("unchanged")
def test_other_methods_are_refused(target: Target, route: str) -> None:
    allowed = ROUTES[route][0]
    for method in METHODS:
        if method in allowed.split(", "):
            continue
        answer = target.raw(
            f"{method} {target.path(route)}?{target.query(route)} HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: {target.token()['Authorization']}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
        )
        status, head = int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[0]
        assert status == 405, method
        assert f"Allow: {allowed}".encode() in head


@routes
@pytest.mark.usefixtures("unchanged")
def test_paths_that_only_look_like_a_route_are_none(target: Target, route: str) -> None:
    path = target.path(route)
    for wrong in (
        f"{path}/",
        f"{path}//",
        f"/{path[1:].replace('/', '//', 1)}/x" if "/" in path[1:] else f"{path}x",
        path.upper(),
        f"{path};x",
        f"{path}%00",
        f"{path}/..",
        f"/x/..{path}",
        f"{path}%2fx",
        path.replace("/", "%2f"),
        path.replace("/", "\\"),
        f"{path}.json",
    ):
        answer = target.api.request(
            ROUTES[route][0].split(", ")[-1], f"{wrong}?{target.query(route)}", b"{}", target.token()
        )
        assert answer.status in (400, 401, 403, 404, 405), wrong
        assert answer.status == 403 or answer.json["error"]


@asking
@pytest.mark.usefixtures("unchanged")
def test_parameters_of_wrong_kinds_are_refused_or_ignored(target: Target, route: str) -> None:
    values = ["", "%00", "%ff", "%ud800", "../..", "x" * 60_000, "1e999", "[]", quote("\u202e{;'\"\n")]
    names = ("sha", "node", "source", "user", "all", "wait", "unknown", "")
    for query in (f"{name}={value}" for name in names for value in values):
        for whole in (query, f"{target.query(route)}&{query}", f"{query}&{target.query(route)}"):
            status = target.api.request("GET", f"{target.path(route)}?{whole}", None, target.token()).status
            assert status < 500, whole[:200]


BODIES = {
    "empty": b"",
    "no JSON": b"node=node-a",
    "cut short": b'{"node": "node-a", "sta',
    "another encoding": '{"node": "n\u00f6de"}'.encode("latin-1"),
    "UTF-16": '{"node": "x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"node": "x"}',
    "compressed": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
    "zeros": b"\0" * 1000,
    "half a character": b'{"node": "\\ud800", "environment": "\\ud800", "ref": "\\udfff"}',
    "too deep": b"[" * 500_000,
    "deep": b'{"node":' * 5000 + b"1" + b"}" * 5000,
    "no number": b'{"node": NaN, "actionIndex": Infinity}',
    "a long number": b'{"node": "node-a", "actionIndex": ' + b"9" * 10_000 + b"}",
    "a list": b'[{"node": "node-a"}]',
    "a text": b'"node-a"',
    "null": b"null",
    "a member twice": b'{"node": "node-a", "node": 7}',
    "many members": json.dumps({str(number): [] for number in range(50_000)}).encode(),
    "wrong types": b'{"node": {"x": 1}, "environment": [], "ref": {}, "payload": "x", "status": 1}',
}


@telling
@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_body_that_is_no_message_is_refused(target: Target, route: str, body: bytes) -> None:
    for content_type in (
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "\u00e9",
    ):
        headers = {**target.token(), "Content-Type": content_type, "Content-Encoding": "gzip"}
        answer = target.api.request("POST", target.path(route), body, headers)
        assert 400 <= answer.status < 500
        assert answer.status == 403 or answer.json["error"]


# Generated requests

_TEXT = st.text(max_size=40)
_INTERESTING = st.sampled_from(
    [
        "node-a",
        "node-b",
        "provider",
        "",
        "../../etc/passwd",
        "%2e%2e",
        "a b",
        "x" * 300,
        "\x00",
        "\u202e",
        SHA,
    ]
)
_STATUS = st.sampled_from(
    ["queued", "waiting", "running", "success", "failed", "timed_out", " Success ", "odd"]
)
_PHASE = st.sampled_from(["intent", "backup", "restore", "activate", "reload", "deactivate", "verify", ""])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT | _INTERESTING,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=10,
)
_MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "node": _INTERESTING | _JSON,
        "status": _STATUS | _JSON,
        "phase": _PHASE | _JSON,
        "message": _JSON,
        "payload": _JSON,
        "actionIndex": st.integers(-1, 3) | _JSON,
        "environment": _INTERESTING | _JSON,
        "migrationSource": _INTERESTING | _JSON,
        "skipMigrations": _JSON,
        "acceptLoss": _JSON,
        "rollback": _JSON,
        "ref": st.sampled_from(["refs/heads/main", "refs/tags/main", "main"]) | _JSON,
        "after": st.just("0" * 40) | _JSON,
        "deleted": _JSON,
    },
)
_BODY = (
    st.binary(max_size=200)
    | _MESSAGE.map(lambda document: json.dumps(document).encode())
    | _JSON.map(lambda document: json.dumps(document).encode())
)
_HEADER = st.tuples(
    st.sampled_from(
        [
            "X-Hostenv-Public",
            "X-GitHub-Event",
            "X-GitHub-Delivery",
            "X-Hub-Signature-256",
            "X-Gitlab-Token",
            "X-Original-URI",
            "X-Original-Method",
            "If-None-Match",
            "Content-Type",
            "Content-Length",
            "Transfer-Encoding",
            "Expect",
            "Connection",
            "Authorization",
        ]
    )
    | _TEXT,
    st.sampled_from(
        ["1", "push", "100-continue", "chunked", "close", "Basic bm9kZS1hOg==", "Bearer x", "-1", "7"]
    )
    | _TEXT,
)


@dataclass(frozen=True)
class Request:
    """`token`: whether it has the valid one of node-a; names in the route are filled in when it is sent."""

    method: str
    route: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    body: bytes
    token: bool
    cut: int | None

    def to_bytes(self, target: Target) -> bytes:
        parameters = "&".join(f"{quote(name)}={quote(value)}" for name, value in self.query)
        path = quote(self.route.format_map(target.names), safe="/%?&=*.;\\")
        headers = [("Host", "service"), *self.headers]
        if self.token:
            headers.insert(0, ("Authorization", target.token()["Authorization"]))
        if not any(name.lower() == "content-length" for name, _ in headers):
            headers.append(("Content-Length", str(len(self.body))))
        lines = [f"{self.method} {path}?{parameters} HTTP/1.1", *(": ".join(header) for header in headers)]
        head = "\r\n".join(line.replace("\r", "").replace("\n", "") for line in lines)
        return (f"{head}\r\n\r\n".encode("utf-8", "surrogatepass") + self.body)[: self.cut]


def _requests() -> st.SearchStrategy[Request]:
    # Never a valid wait of more than a moment: it would be waited for.
    waits = st.tuples(st.just("wait"), st.sampled_from(["0", "0.01", "-1", "nan", "x", "1e9", ""]))
    parameters = st.tuples(
        st.sampled_from(["node", "sha", "source", "user", "all"]) | _TEXT, _INTERESTING | _TEXT
    )
    filled = st.sampled_from(sorted(ROUTES))
    return st.builds(
        Request,
        method=st.sampled_from(["GET", "POST"]) | st.sampled_from(METHODS),
        route=filled
        | st.tuples(filled, _INTERESTING).map("/".join)
        | _TEXT.map(lambda text: f"/{quote(text)}"),
        query=st.lists(parameters.filter(lambda pair: pair[0] != "wait") | waits, max_size=4).map(tuple),
        headers=st.lists(_HEADER, max_size=4).map(tuple),
        body=_BODY,
        token=st.booleans(),
        cut=st.none() | st.none() | st.none() | st.integers(0, 300),
    )


_STATUS_LINE = re.compile(rb"^HTTP/1\.[01] (\d{3}) ", re.MULTILINE)
_CHANGING = re.compile(r"/api/jobs|/webhook/[^/]+|/api/deploy-jobs/[^/]+/events")


@pytest.mark.parametrize("lists", [200, pytest.param(1000, marks=pytest.mark.long)])
def test_no_generated_request_breaks_anything(
    target: Target, caplog: pytest.LogCaptureFixture, lists: int
) -> None:
    """Never a 5xx, never a traceback, never a change but by what was answered as accepted."""
    seen: dict[int, int] = {}

    @settings(
        max_examples=lists,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(_requests(), min_size=10, max_size=10))
    def send(requests: list[Request]) -> None:
        for request in requests:
            before = target.commits()
            answer = target.raw(request.to_bytes(target))
            statuses = [int(status) for status in _STATUS_LINE.findall(answer)]
            for status in statuses:
                seen[status] = seen.get(status, 0) + 1
            assert all(status < 500 for status in statuses), (request, answer)
            assert b"Traceback" not in answer
            if target.commits() != before:
                assert {200, 202} & {*statuses}, (request, answer)
                assert _CHANGING.search(request.route.format_map(target.names)), request

    send()
    assert caplog.records == []
    # They reached what they were meant for, and the service is as well as before.
    assert {200, 202, 400, 401, 403, 404, 405, 411, 413} & seen.keys() >= {200, 400, 401, 403, 404, 405}
    assert sum(seen.values()) > 9 * lists
    assert target.api.request("GET", "/health").status == 200
