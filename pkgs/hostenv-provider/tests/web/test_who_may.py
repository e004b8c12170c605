"""Who may do what with the API: a table, each cell of which is tried; docs/access.md shows it too."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hostenv_provider.plan.generated import slice_hash
from hostenv_provider.secrets import webhook_secrets

from conftest import environment_of, slice_text

DOCUMENT = Path(__file__).parents[4] / "docs" / "access.md"
CONTRACT = DOCUMENT.with_name("contract.md")
PUBLIC = {"X-Hostenv-Public": "1"}
SHA = "0" * 39 + "2"


@dataclass(frozen=True)
class Caller:
    """Who asks: the node whose name it uses, the node whose token it has, and whether nginx marked it."""

    title: str
    node: str
    token: str | None
    public: bool = True


@dataclass(frozen=True)
class Row:
    """A request and the status that each caller gets."""

    what: str
    method: str
    path: str
    statuses: tuple[int, ...]
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


CALLERS = (
    Caller("on the service's socket, no token", "node-a", None, public=False),
    Caller("over the network, no token", "node-a", None),
    Caller("a node of the job", "node-a", "node-a"),
    Caller("a node without a part in it", "node-c", "node-c"),
    Caller("that node, in the name of the other", "node-a", "node-c"),
)
JOB = "/api/deploy-jobs/{job}"
ROWS = (
    Row("webhook, without its secret", "POST", "/webhook/{hash}", (401, 401, 401, 401, 401), "{{}}"),
    Row(
        "webhook, with its secret",
        "POST",
        "/webhook/{hash}",
        (202, 202, 202, 202, 202),
        "{{}}",
        {"X-Gitlab-Token": "{secret}"},
    ),
    Row(
        "what waits for the node",
        "GET",
        "/api/deploy-intents/pending?sha={sha}&node={node}",
        (403, 403, 200, 200, 403),
    ),
    Row(
        "its intent by commit",
        "GET",
        "/api/deploy-intents/by-sha?sha={sha}&node={node}",
        (403, 403, 200, 404, 403),
    ),
    Row("its intent by job", "GET", f"{JOB}/intents/{{node}}", (403, 403, 200, 404, 403)),
    Row("latest event", "GET", f"{JOB}/status?node={{node}}", (403, 403, 200, 404, 403)),
    Row("latest events of all nodes", "GET", f"{JOB}/statuses?node={{node}}", (403, 403, 200, 404, 403)),
    Row("actions of all nodes", "GET", f"{JOB}/actions?node={{node}}&all=1", (403, 403, 200, 404, 403)),
    Row(
        "snapshots of a backup",
        "GET",
        f"{JOB}/backup-snapshot?node={{node}}&source=node-a&user={{user}}",
        (403, 403, 200, 404, 403),
    ),
    Row(
        "post an event",
        "POST",
        f"{JOB}/events",
        (403, 403, 200, 404, 403),
        '{{"node": "{node}", "phase": "backup", "actionIndex": 0}}',
    ),
    Row(
        "send a part of a live move from it",
        "PUT",
        f"{JOB}/transfer/{{user}}/delta-1?node={{node}}",
        (403, 403, 201, 403, 403),
    ),
    Row(
        "read a part of a live move from it",
        "GET",
        f"{JOB}/transfer/{{user}}/applied-1?node={{node}}",
        (403, 403, 404, 403, 403),
    ),
    Row(
        "the node's part of the plan",
        "GET",
        "/api/nodes/{node}/slice?sha256={slice}",
        (403, 403, 200, 404, 403),
    ),
    Row(
        "secrets of an environment that node-a hosts",
        "GET",
        "/api/environments/{user}/secrets?node={node}",
        (403, 403, 200, 403, 403),
    ),
    Row(
        "secrets of an environment that neither hosts",
        "GET",
        "/api/environments/{elsewhere}/secrets?node={node}",
        (403, 403, 403, 403, 403),
    ),
    Row("list jobs", "GET", "/api/jobs", (200, 404, 404, 404, 404)),
    Row("look at a job", "GET", "/api/jobs/{job}", (200, 404, 404, 404, 404)),
    Row("start a job", "POST", "/api/jobs", (202, 404, 404, 404, 404), '{{"environment": "{user}"}}'),
    Row("cancel a job", "POST", "/api/jobs/{job}/cancel", (200, 404, 404, 404, 404), '{{"by": "x"}}'),
    Row("ask for others whether they may use Git", "GET", "/api/git-access", (401, 404, 404, 404, 404)),
    Row("ask for others whether they may back up", "GET", "/api/backup-access", (403, 404, 404, 404, 404)),
    Row("replace accounts of backups", "POST", "/api/backup-accounts/replace", (200, 404, 404, 404, 404)),
    Row(
        "replace what a node ever had",
        "POST",
        "/api/nodes/node-c/compromised",
        (200, 404, 404, 404, 404),
        "{{}}",
    ),
)
CELLS = [(row, caller, status) for row in ROWS for caller, status in zip(CALLERS, row.statuses, strict=True)]
READING = [cell for cell in CELLS if cell[0].method == "GET"]
CHANGING = [cell for cell in CELLS if cell[0].method != "GET"]


@pytest.fixture
def job(api: Any) -> str:
    """A live move from node-a to node-b."""
    here = environment_of(node="node-a")
    api.provider.finish(api.provider.deploy(here), [here], "node-a")
    series = {"node-a": "11.8", "node-b": "11.8"}
    made: str = api.provider.deploy(environment_of(node="node-b"), databases=series)
    return made


def test_who_may_read(api: Any, job: str) -> None:
    api.tokens.create(["node-c"])
    wrong = []
    for row, caller, status in READING:
        answer = ask(api, job, row, caller)
        if answer.status != status or (status == 403 and answer.body):
            wrong.append(f"{row.what}, {caller.title}: {answer.status} instead of {status}")
    assert wrong == []


@pytest.mark.parametrize(
    ("row", "caller", "status"), CHANGING, ids=[f"{row.what}-{caller.title}" for row, caller, _ in CHANGING]
)
def test_who_may_change(api: Any, job: str, row: Row, caller: Caller, status: int) -> None:
    api.tokens.create(["node-c"])
    answer = ask(api, job, row, caller)
    assert answer.status == status
    if status == 403:
        assert answer.body == b""


def ask(api: Any, job: str, row: Row, caller: Caller) -> Any:
    """The answer to a caller's request."""
    user, elsewhere = sorted(api.published.plan.environments)
    values = {
        "job": job,
        "sha": SHA,
        "slice": slice_hash(slice_text("node-a")),
        "node": caller.node,
        "user": user,
        "elsewhere": elsewhere,
        "hash": api.published.plan.environments[user].project_name_hash,
        "secret": webhook_secrets.create(api.config, "demo__drupal"),
    }
    headers = {name: value.format_map(values) for name, value in row.headers.items()}
    if caller.token is not None:
        headers["Authorization"] = f"Bearer {api.tokens.show(caller.token)}"
    if caller.public:
        headers |= PUBLIC
    return api.request(
        row.method, row.path.format_map(values), row.body.format_map(values).encode() or None, headers
    )


def test_the_document_shows_this_table() -> None:
    words = {200: "yes", 201: "yes", 202: "yes", 401: "401", 403: "403", 404: "404"}
    lines = [
        f"| of the API | {' | '.join(caller.title for caller in CALLERS)} |",
        "|---|" + "---|" * len(CALLERS),
        *(f"| {row.what} | {' | '.join(words[status] for status in row.statuses)} |" for row in ROWS),
    ]
    assert "\n".join(lines) in DOCUMENT.read_text(encoding="utf-8")


def test_every_route_is_tried_and_promised(api: Any) -> None:
    paths = [(row.method, row.path.partition("?")[0]) for row in ROWS]
    untried = [
        route.pattern
        for route in api.routes
        if not any(route.method == method and route.match(path) is not None for method, path in paths)
    ]
    # who may ask for this one is in the table of what comes over the network
    assert untried == ["/health"]
    section = CONTRACT.read_text(encoding="utf-8").partition("\n## 4. ")[2].partition("\n## 5. ")[0]
    promised = re.findall(r"`(GET|POST|PUT) (/[^`?\[]*)", section)
    # these two are nginx' own questions
    asked_by_nginx = {("GET", "/api/git-access"), ("GET", "/api/backup-access")}
    routes = {(route.method, re.sub(r"{\w+}", "{}", route.pattern)) for route in api.routes}
    assert {(method, re.sub(r"{\w+}", "{}", path)) for method, path in promised} == routes - asked_by_nginx
