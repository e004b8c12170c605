"""The webhook's rows of contract 4's table, over a real AF_UNIX socket."""

import hmac
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from hostenv_core.errors import InvalidData
from hostenv_provider.plan.lock_file import Input
from hostenv_provider.plan.plan import Environment
from hostenv_provider.repository.repository import NotBootstrapped
from hostenv_provider.rules.jobs import Request
from hostenv_provider.secrets import webhook_secrets

MakeEnvironment = Callable[..., Environment]
PUBLIC = {"X-Hostenv-Public": "1"}


@pytest.fixture
def main_hash(environment: MakeEnvironment) -> str:
    return environment("main").project_name_hash


def test_a_push_starts_a_job(api: Any, main_hash: str) -> None:
    answer = api.request("POST", f"/webhook/{main_hash}", b'{"ref": "refs/heads/main"}', PUBLIC)
    assert answer.status == 202
    assert answer.json["accepted"] is True
    job = api.store.job(answer.json["jobId"])
    assert job.request == Request("demo__drupal", frozenset({"main"}))


def test_a_push_of_an_unnamed_branch_moves_all(api: Any, main_hash: str) -> None:
    answer = api.request("POST", f"/webhook/{main_hash}")
    assert api.store.job(answer.json["jobId"]).request.refs is None


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b'{"ref": "refs/heads/other"}'),
        ({}, b'{"ref": "refs/tags/v1"}'),
        ({}, b'{"ref": "refs/heads/main", "deleted": true}'),
        ({"X-GitHub-Event": "ping"}, b'{"zen": "Keep it logically awesome."}'),
        ({}, b"garbage"),
    ],
)
def test_any_other_delivery_is_answered_and_starts_nothing(
    api: Any, main_hash: str, headers: dict[str, str], body: bytes
) -> None:
    answer = api.request("POST", f"/webhook/{main_hash}", body, headers)
    assert answer.status == 202
    assert answer.json["accepted"] is False
    assert answer.json["reason"]
    assert api.store.recent_jobs(10) == []


def test_a_push_that_changes_only_the_flake_is_no_other(api: Any, main_hash: str) -> None:
    body = b'{"ref": "refs/heads/trunk", "repository": {"default_branch": "trunk"}}'
    assert api.request("POST", f"/webhook/{main_hash}", body).json["accepted"] is False
    flake = Input("demo__drupal", "git+https://example.org/x", "a" * 40, "sha256-x", "HEAD", "main")
    api.published.inputs = {"demo__drupal": flake}

    answer = api.request("POST", f"/webhook/{main_hash}", body)

    assert answer.json["accepted"] is True
    assert api.store.job(answer.json["jobId"]).request.refs == {"trunk"}


def test_a_repeated_delivery_starts_one_job(api: Any, main_hash: str) -> None:
    def deliver(delivery: str) -> str:
        headers = {"X-GitHub-Event": "push", "X-GitHub-Delivery": delivery}
        answer = api.request("POST", f"/webhook/{main_hash}", b'{"ref": "refs/heads/main"}', headers)
        assert answer.status == 202
        return str(answer.json["jobId"])

    first = deliver("1")
    assert deliver("1") == first
    api.store.fail(first, "its flake does not evaluate")
    assert deliver("1") != first


def test_the_webhooks_secret_is_checked_before_all_else(api: Any, main_hash: str) -> None:
    secret = webhook_secrets.create(api.config, "demo__drupal")
    path, body = f"/webhook/{main_hash}", b'{"ref": "refs/heads/main"}'
    assert api.request("POST", path, body).status == 401
    wrong = api.request("POST", path, body, {"X-Gitlab-Token": "wrong"})
    assert (wrong.status, wrong.json) == (401, {"error": "invalid webhook signature"})
    assert api.store.recent_jobs(10) == []
    assert api.request("POST", path, body, {"X-Gitlab-Token": secret}).status == 202


def test_a_new_secret_of_a_webhook_takes_over_when_the_git_host_has_it(api: Any, main_hash: str) -> None:
    def status(secret: str) -> int:
        given = api.request("POST", f"/webhook/{main_hash}", b"{}", {"X-Gitlab-Token": secret})
        return int(given.status)

    old = webhook_secrets.create(api.config, "demo__drupal")
    new = webhook_secrets.rotate(api.config, "demo__drupal")
    assert [status(secret) for secret in (old, new, old, new)] == [202, 202, 401, 202]


def test_a_project_without_a_decision_on_its_secret_lets_nobody_in(api: Any, main_hash: str) -> None:
    (api.config.webhook_secrets_dir / "demo__drupal.json").unlink()
    assert api.request("POST", f"/webhook/{main_hash}", b"{}").status == 401


@pytest.mark.parametrize("headers", [{}, {"X-Gitlab-Token": "x"}, {"X-Hub-Signature-256": "sha256=00"}])
def test_a_stranger_does_not_learn_what_is_hosted(api: Any, main_hash: str, headers: dict[str, str]) -> None:
    webhook_secrets.create(api.config, "demo__drupal")
    hosted = api.request("POST", f"/webhook/{main_hash}", b"{}", headers)
    assert hosted.status == 401
    (api.config.webhook_secrets_dir / "demo__drupal.json").unlink()
    for path in (f"/webhook/{'0' * 64}", f"/webhook/{main_hash}"):
        answer = api.request("POST", path, b"{}", headers)
        assert (answer.status, answer.body) == (hosted.status, hosted.body)


def test_webhooks_without_a_plan(api: Any, main_hash: str) -> None:
    api.published.plan = NotBootstrapped("run hostenv-provider init")
    assert api.request("POST", f"/webhook/{main_hash}", b"{}").status == 503
    api.published.plan = InvalidData("plan.json: not JSON")
    answer = api.request("POST", f"/webhook/{main_hash}", b"{}")
    assert answer.status == 500
    assert "not JSON" in answer.json["error"]


def test_a_hash_of_several_projects_is_an_error(
    api: Any, main_hash: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostenv_provider.web.webhook.projects_of_hash", lambda *_: ["a__b", "c__d"])
    answer = api.request("POST", f"/webhook/{main_hash}", b"{}")
    assert answer.status == 500
    assert "a__b, c__d" in answer.json["error"]


@pytest.mark.parametrize(("path", "limit"), [("/api/deploy-jobs/x/events", 65536), ("/api/jobs", 1048576)])
def test_a_larger_body_than_its_route_takes_is_refused(api: Any, path: str, limit: int) -> None:
    token = {"Authorization": f"Bearer {api.tokens.show('node-a')}"}
    answer = api.request("POST", path, b"x" * (limit + 1), token)
    assert answer.status == 413
    assert answer.json["error"]
    assert api.request("POST", path, b"x" * limit, token).status == 400


def large_push(size: int) -> bytes:
    """A push of so many bytes, of many commits with many files as a merge of branches has."""
    commit = {"id": "1" * 40, "added": [f"web/modules/contrib/file-{number}.php" for number in range(200)]}
    one = json.dumps(commit).encode()
    commits = b",".join([one] * ((size - 200) // (len(one) + 1)))
    body = b'{"ref": "refs/heads/main", "commits": [' + commits + b'], "after": "' + b"2" * 40 + b'"}'
    return body + b" " * (size - len(body))


def test_a_delivery_may_be_as_large_as_git_hosts_send_them(api: Any, main_hash: str) -> None:
    assert api.request("POST", f"/webhook/{main_hash}", large_push(25 * 1024 * 1024)).status == 202
    answer = api.request("POST", f"/webhook/{main_hash}", large_push(25 * 1024 * 1024 + 1))
    assert answer.status == 413
    assert "26214400" in answer.json["error"]


@pytest.mark.parametrize(
    ("content_type", "size", "number"),
    [("application/json", 6_000_000, 32), ("application/x-www-form-urlencoded", 1_200_000, 32)],
)
def test_many_large_deliveries_at_once_take_the_memory_of_a_few(
    api: Any, main_hash: str, content_type: str, size: int, number: int
) -> None:
    body = large_push(size)
    if content_type != "application/json":
        body = b"payload=" + quote_plus(body).encode()
    secret = webhook_secrets.create(api.config, "demo__drupal")
    signature = "sha256=" + hmac.new(secret.encode(), body, "sha256").hexdigest()
    headers = {"Content-Type": content_type, "X-Hub-Signature-256": signature}
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    with ThreadPoolExecutor(number) as pool:
        answers = list(
            pool.map(lambda _: api.request("POST", f"/webhook/{main_hash}", body, headers), range(number))
        )
    assert {answer.status for answer in answers} == {202}
    assert _peak() - before < number * len(body) / 3


def _peak() -> int:
    """The most memory, in bytes, that this process has had since the mark was reset."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_a_large_body_that_nobody_wants_is_not_kept(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "hostenv_provider.web.server._Handler._read_body", lambda _: pytest.fail("read into memory")
    )
    body = large_push(5_000_000)
    for headers in ({}, {"X-Hub-Signature-256": "sha256=00"}):
        assert api.request("POST", f"/webhook/{'0' * 64}", body, headers).status == 401
