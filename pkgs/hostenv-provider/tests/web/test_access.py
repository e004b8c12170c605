"""Who may do what: node tokens, and what nginx asks for /git/ (contract 1 and 4)."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hostenv_core.errors import InvalidData
from hostenv_provider.plan.plan import Environment

MakeEnvironment = Callable[..., Environment]
PENDING = f"/api/deploy-intents/pending?sha={'0' * 40}&node=node-a"


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer wrong", "Basic bm9kZS1hOng=", "Bearer  ", "Bearer \u00e9", "Bearer a b"],
)
def test_anything_but_the_nodes_token_is_403_without_a_word(api: Any, authorization: str) -> None:
    answer = api.request(
        "GET",
        PENDING,
        headers={"Authorization": authorization.encode("latin-1").decode("latin-1")},
    )
    assert (answer.status, answer.body) == (403, b"")


@pytest.mark.parametrize("scheme", ["Basic ", "Token ", ""])
def test_the_token_alone_or_under_another_name_is_403(api: Any, scheme: str) -> None:
    token = api.tokens.show("node-a")
    assert api.request("GET", PENDING, headers={"Authorization": f"{scheme}{token}"}).status == 403


def test_nobody_is_the_provider_itself(api: Any) -> None:
    tokens = json.loads(api.config.tokens_file.read_text())
    api.config.tokens_file.write_text(json.dumps({**tokens, "provider": "t0ken", "node-x": "t0ken"}))
    for node, status in (("node-x", 200), ("provider", 403)):
        path = PENDING.replace("node=node-a", f"node={node}")
        assert api.request("GET", path, headers={"Authorization": "Bearer t0ken"}).status == status


def test_the_scheme_is_case_insensitive_and_tokens_are_reloaded(api: Any) -> None:
    old = api.tokens.show("node-a")
    assert api.request("GET", PENDING, headers={"Authorization": f"bearer   {old}"}).status == 200
    api.tokens.rotate(["node-a"])
    new = api.tokens.show("node-a")
    for token, status in ((old, 200), (new, 200), (old, 403)):
        assert api.request("GET", PENDING, headers={"Authorization": f"Bearer {token}"}).status == status


@pytest.mark.parametrize(
    ("method", "uri", "status"),
    [
        ("GET", "/git/nodes/node-a.git/info/refs?service=git-upload-pack", 204),
        ("POST", "/git/nodes/node-a.git/git-upload-pack", 204),
        ("GET", "/git/nodes/node-b.git/info/refs?service=git-upload-pack", 403),
        ("POST", "/git/nodes/node-b.git/git-upload-pack", 403),
        ("POST", "/git/nodes/node-a.git/git-receive-pack", 403),
        ("GET", "/git/nodes/node-a.git/../node-b.git/info/refs?service=git-upload-pack", 403),
        ("GET", "/git/nodes/node-a.git/HEAD", 403),
        ("GET", "/git/nodes/demo__drupal.git/info/refs?service=git-upload-pack", 403),
        ("GET", "/git/node-a.git/info/refs?service=git-upload-pack", 403),
        ("GET", "/git/provider.git/info/refs?service=git-upload-pack", 403),
        ("POST", "/git/provider.git/git-upload-pack", 403),
        ("GET", "/git/demo__drupal.git/info/refs?service=git-upload-pack", 204),
        ("GET", "/git/demo__shop.git/info/refs?service=git-upload-pack", 403),
        ("POST", "/git/provider.git/git-receive-pack", 403),
        ("GET", "/git/provider.git/info/refs?service=git-receive-pack", 403),
        ("GET", "/git/provider.git/info/refs", 403),
        ("GET", "/git/provider.git/HEAD", 403),
        ("GET", "/git/provider.git/../demo__shop.git/info/refs?service=git-upload-pack", 403),
        ("GET", "/git/provider.git/%2e%2e/demo__shop.git/info/refs?service=git-upload-pack", 403),
        ("GET", "/git/provider.git/info/refs?service=git-upload-pack&service=git-receive-pack", 403),
        ("PUT", "/git/provider.git/git-upload-pack", 403),
        ("GET", "/git/provider.git/git-upload-pack", 403),
        ("GET", "", 403),
    ],
)
def test_what_a_node_may_read_by_git(
    api: Any, environment: MakeEnvironment, method: str, uri: str, status: int
) -> None:
    here = environment(node="node-a")
    api.provider.finish(api.provider.deploy(here), [here], "node-a")
    answer = api.request(
        "GET",
        "/api/git-access",
        headers={"X-Original-URI": uri, "X-Original-Method": method, **basic("node-a", api)},
    )
    assert answer.status == status
    assert answer.body == b""


def test_git_asks_who_one_is(api: Any) -> None:
    uri = {
        "X-Original-URI": "/git/nodes/node-b.git/info/refs?service=git-upload-pack",
        "X-Original-Method": "GET",
    }
    for authorization in ({}, {"Authorization": "Basic !"}, {"Authorization": "Basic bm9kZS1hOndyb25n"}):
        answer = api.request("GET", "/api/git-access", headers={**uri, **authorization})
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")
    assert api.request("GET", "/api/git-access", headers={**uri, **basic("node-b", api)}).status == 204


def ask_git(api: Any, node: str, repository: str | None = None, *, fetch: bool = False) -> int:
    uri = f"/git/{repository or f'nodes/{node}'}.git/"
    uri, method = (
        (f"{uri}git-upload-pack", "POST") if fetch else (f"{uri}info/refs?service=git-upload-pack", "GET")
    )
    headers = {"X-Original-URI": uri, "X-Original-Method": method, **basic(node, api)}
    return int(api.request("GET", "/api/git-access", headers=headers).status)


def basic(node: str, api: Any) -> dict[str, str]:
    credentials = base64.b64encode(f"{node}:{api.tokens.show(node)}".encode()).decode()
    return {"Authorization": f"Basic {credentials}"}


def test_a_node_that_is_no_longer_in_the_plan_reads_no_repository(api: Any) -> None:
    assert ask_git(api, "node-b") == 204
    api.published.plan = replace(api.published.plan, nodes=("node-a",))
    assert ask_git(api, "node-b") == 403
    assert ask_git(api, "node-a") == 204
    api.published.plan = InvalidData("generated/plan.json: not JSON")
    assert ask_git(api, "node-a") == 500


def test_a_node_reads_the_providers_repository_until_it_fetched_its_own(api: Any) -> None:
    api.store.begin_following(["node-a"])
    assert ask_git(api, "node-a", "provider") == 204
    assert ask_git(api, "node-b", "provider") == 403
    # To look at it is not to have it.
    assert ask_git(api, "node-a") == 204
    assert ask_git(api, "node-a", "provider", fetch=True) == 204
    assert ask_git(api, "node-a", fetch=True) == 204
    assert ask_git(api, "node-a", "provider") == 403
    api.provider.reopen()
    assert not api.store.follows_provider("node-a")
