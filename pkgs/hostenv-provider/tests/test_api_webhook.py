"""The webhook's rows of contract 4's table, over a real AF_UNIX socket."""

from collections.abc import Callable
from typing import Any

import pytest
from hostenv_provider import webhook_secrets
from hostenv_provider.errors import InvalidData
from hostenv_provider.jobs import Request
from hostenv_provider.plan import Environment
from hostenv_provider.repository import NotBootstrapped

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


def test_a_project_without_a_decision_on_its_secret_lets_nobody_in(api: Any, main_hash: str) -> None:
    (api.config.webhook_secrets_dir / "demo__drupal.json").unlink()
    assert api.request("POST", f"/webhook/{main_hash}", b"{}").status == 401


def test_webhooks_without_a_plan_or_project(api: Any, main_hash: str) -> None:
    assert api.request("POST", f"/webhook/{'0' * 64}", b"{}").status == 404
    api.published.plan = NotBootstrapped("run hostenv-provider init")
    assert api.request("POST", f"/webhook/{main_hash}", b"{}").status == 503
    api.published.plan = InvalidData("plan.json: not JSON")
    answer = api.request("POST", f"/webhook/{main_hash}", b"{}")
    assert answer.status == 500
    assert "not JSON" in answer.json["error"]


def test_a_hash_of_several_projects_is_an_error(
    api: Any, main_hash: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostenv_provider.webhook.projects_of_hash", lambda *_: ["a__b", "c__d"])
    answer = api.request("POST", f"/webhook/{main_hash}", b"{}")
    assert answer.status == 500
    assert "a__b, c__d" in answer.json["error"]


@pytest.mark.parametrize("path", ["/webhook/hash", "/api/deploy-jobs/x/events"])
def test_a_body_over_one_mebibyte_is_refused(api: Any, path: str) -> None:
    answer = api.request("POST", path, b"x" * (1024 * 1024 + 1))
    assert answer.status == 413
    assert answer.json["error"]
    assert api.request("POST", path, b"x" * 1024 * 1024).status in (400, 404)
