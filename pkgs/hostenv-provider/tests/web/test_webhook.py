"""Deliveries as GitHub and GitLab send them (contract 4, webhooks)."""

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from hostenv_core.errors import HostenvError
from hostenv_provider.config import Config
from hostenv_provider.plan.lock_file import Input
from hostenv_provider.plan.plan import Environment, Plan
from hostenv_provider.secrets import webhook_secrets
from hostenv_provider.secrets.webhook_secrets import Secret
from hostenv_provider.web import webhook
from hostenv_provider.web.webhook import Ignored, Push, Signature

COMMIT = "1481a2de7b2a7d02428ad93446ab166be7793fbb"
NOTHING = "0" * 40


def github(event: str = "push", **payload: object) -> tuple[dict[str, str], bytes]:
    headers = {
        "user-agent": "GitHub-Hookshot/044aadd",
        "content-type": "application/json",
        "x-github-event": event,
        "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "x-github-hook-id": "292430182",
    }
    body = {
        "ref": "refs/heads/main",
        "before": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
        "after": COMMIT,
        "created": False,
        "deleted": False,
        "forced": False,
        "repository": {"id": 186853002, "full_name": "demo/drupal", "default_branch": "main"},
        "pusher": {"name": "dev", "email": "dev@example.org"},
        "commits": [{"id": COMMIT, "message": "Update README", "added": [], "removed": [], "modified": []}],
    }
    return headers, json.dumps({**body, **payload}).encode()


def gitlab(event: str = "Push Hook", **payload: object) -> tuple[dict[str, str], bytes]:
    headers = {
        "user-agent": "GitLab/17.0.0",
        "content-type": "application/json",
        "x-gitlab-event": event,
        "x-gitlab-event-uuid": "13792a34-cac6-4fda-95a8-c58e00a3954e",
        "x-gitlab-webhook-uuid": "e6ef6a2d-0ed8-4b21-ad57-bd4f4d2be6c6",
        "x-gitlab-instance": "https://gitlab.example.org",
        "x-gitlab-token": "s3cret",
        "idempotency-key": "f5e57ab2-6f0a-4dd4-9d7f-11a2b3c4d5e6",
    }
    body = {
        "object_kind": "push",
        "event_name": "push",
        "before": "95790bf891e76fee5e1747ab589903a6a1f80f22",
        "after": COMMIT,
        "ref": "refs/heads/main",
        "checkout_sha": COMMIT,
        "user_username": "dev",
        "project": {"id": 15, "path_with_namespace": "demo/drupal", "default_branch": "main"},
        "commits": [],
        "total_commits_count": 0,
    }
    return headers, json.dumps({**body, **payload}).encode()


def parsed(headers: dict[str, str], body: bytes) -> str | None:
    """The branch of a delivery that is a push."""
    said = webhook.parse(headers, body)
    assert isinstance(said, Push)
    return said.ref


@pytest.mark.parametrize(
    "delivery",
    [
        github(),
        github(ref="main"),
        gitlab(),
        gitlab("System Hook"),
        ({}, b'{"ref": "refs/heads/main"}'),
        ({"content-type": "application/octet-stream"}, b'{"ref": "refs/heads/main"}'),
        ({"content-type": "application/x-www-form-urlencoded"}, b'{"ref": "refs/heads/main"}'),
    ],
)
def test_a_push_names_its_branch(delivery: tuple[dict[str, str], bytes]) -> None:
    assert parsed(*delivery) == "main"


def test_a_branch_keeps_its_slashes() -> None:
    assert parsed(*github(ref="refs/heads/feature/heads/x")) == "feature/heads/x"


def test_github_can_send_forms() -> None:
    headers, body = github()
    form = urlencode({"payload": body.decode()}).encode()
    headers["content-type"] = "application/x-www-form-urlencoded; charset=utf-8"
    assert parsed(headers, form) == "main"


@pytest.mark.parametrize("length", range(65_530, 65_540))
def test_a_form_is_taken_apart_wherever_its_escapes_stand(length: int) -> None:
    headers, body = github(head_commit={"message": "é" * 9_000}, filler="x" * (length % 7))
    form = urlencode({"before": "b=1", "payload": body.decode(), "after": "payload={}"}).encode()
    cut = b"payload=" + form.partition(b"payload=")[2][:length]
    headers["content-type"] = "application/x-www-form-urlencoded"
    assert parsed(headers, form) == "main"
    assert isinstance(webhook.parse(headers, cut), Ignored)


@pytest.mark.parametrize("body", [b"", b" \n", b'{"checkout_sha": "abc"}', b'{"ref": null}', b"{}"])
def test_a_push_may_leave_its_branch_unsaid(body: bytes) -> None:
    assert webhook.parse({"content-type": "application/octet-stream"}, body) == Push(None)


@pytest.mark.parametrize(
    "delivery",
    [
        github("ping", zen="Anything added dilutes everything else.", hook_id=1),
        github("issues"),
        github("create", ref="v1", ref_type="tag"),
        github(ref="refs/tags/v1.0"),
        github(deleted=True, after=NOTHING),
        github(after=NOTHING),
        github(ref=7),
        github(ref=""),
        gitlab("Tag Push Hook", object_kind="tag_push", ref="refs/tags/v1.0"),
        gitlab("System Hook", object_kind="tag_push", event_name="tag_push", ref="refs/tags/v1.0"),
        gitlab("System Hook", object_kind=None, event_name="project_create", ref=None),
        gitlab("Merge Request Hook", object_kind="merge_request"),
        gitlab(after=NOTHING, checkout_sha=None),
        ({}, b"not JSON"),
        ({}, b"[1, 2]"),
        ({}, b"\xff\xfe"),
        ({}, b"[" * 100_000),
        ({"content-type": "application/x-www-form-urlencoded"}, b"payload=%7B"),
        ({"content-type": "application/x-www-form-urlencoded"}, b"other=1"),
        ({"content-type": "application/x-www-form-urlencoded"}, b"&".join([b"a=1"] * 1000)),
    ],
)
def test_what_is_no_push_of_a_branch_is_ignored_with_a_reason(delivery: tuple[dict[str, str], bytes]) -> None:
    said = webhook.parse(*delivery)
    assert isinstance(said, Ignored)
    assert said.reason


def sign(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def test_githubs_documented_signature_is_valid() -> None:
    secret = Secret("It's a Secret to Everybody")
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"x-hub-signature-256": signature}
    assert webhook.check_signature(secret, headers, lambda: b"Hello, World!") is Signature.VALID
    assert webhook.check_signature(secret, headers, lambda: b"Hello, World?") is Signature.WRONG


@pytest.mark.parametrize(
    ("headers", "result"),
    [
        ({"x-gitlab-token": "s3cret"}, Signature.VALID),
        ({"x-hub-signature-256": sign("s3cret", b"{}")}, Signature.VALID),
        ({"x-hub-signature-256": sign("s3cret", b"{}").upper()}, Signature.VALID),
        ({"x-gitlab-token": "wrong"}, Signature.WRONG),
        ({"x-gitlab-token": ""}, Signature.WRONG),
        ({"x-gitlab-token": "sécret"}, Signature.WRONG),
        ({"x-hub-signature-256": sign("other", b"{}")}, Signature.WRONG),
        ({"x-hub-signature-256": "sha256="}, Signature.WRONG),
        ({"x-hub-signature": "sha1=00"}, Signature.MISSING),
        ({}, Signature.MISSING),
    ],
)
def test_signatures(headers: dict[str, str], result: Signature) -> None:
    assert webhook.check_signature(Secret("s3cret"), headers, lambda: b"{}") is result


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-gitlab-token": "s3cret"}, b"s3cret"),
        ({"x-hub-signature-256": sign("s3cret", b"{}")}, sign("s3cret", b"{}").encode()),
    ],
)
def test_signatures_are_compared_in_constant_time(
    headers: dict[str, str], expected: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, wanted: bytes) -> bool:
        compared.append((given, wanted))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert webhook.check_signature(Secret("s3cret"), headers, lambda: b"{}") is Signature.WRONG
    assert compared == [(expected, expected)]


def test_only_a_deliberately_open_webhook_lets_everybody_in() -> None:
    assert webhook.check_signature(Secret(None), {}, lambda: b"{}") is Signature.VALID


@pytest.mark.parametrize("name", ["x-gitlab-token", "x-hub-signature-256", "x-other"])
def test_without_a_secret_nobody_passes_and_the_answer_is_that_to_a_wrong_one(name: str) -> None:
    def unread() -> bytes:
        pytest.fail("nobody may make the service read a body for nothing")

    answer = webhook.check_signature(None, {name: "x"}, unread)
    assert answer is webhook.check_signature(Secret("s3cret"), {name: "x"}, lambda: b"{}")
    assert answer is not Signature.VALID


def test_the_body_is_read_for_its_own_signature_only() -> None:
    def unread() -> bytes:
        pytest.fail("nobody may make the service read a body for nothing")

    for headers in ({}, {"x-gitlab-token": "wrong"}, {"x-gitlab-token": "s3cret"}):
        webhook.check_signature(Secret("s3cret"), headers, unread)


def test_a_secret_is_not_shown_in_logs() -> None:
    assert "s3cret" not in repr(Secret("s3cret"))


def test_the_id_of_a_delivery() -> None:
    def delivery_id(headers: dict[str, str], secret: Secret | None = None) -> str | None:
        return webhook.delivery_id(headers, secret or Secret("s3cret"), Push("main", commit=COMMIT))

    headers, body = github()
    assert delivery_id(headers) == "72d3162e-cc78-11e3-81ab-4c9367dc0958"
    assert delivery_id(gitlab()[0]) == "f5e57ab2-6f0a-4dd4-9d7f-11a2b3c4d5e6"
    assert delivery_id({"x-gitlab-event-uuid": "13792a34"}) == "13792a34"
    assert delivery_id({}) is None
    # A signature says more than an id that is not signed; but where it was not checked it says nothing.
    signed = {**headers, "x-hub-signature-256": sign("s3cret", body).upper()}
    assert delivery_id(signed) == sign("s3cret", body)
    assert delivery_id(signed, Secret(None)) == delivery_id(headers)


def test_a_script_may_sign_the_same_words_each_time() -> None:
    headers = {"x-hub-signature-256": sign("s3cret", b'{"ref": "main"}')}
    said = webhook.parse(headers, b'{"ref": "main"}')
    assert isinstance(said, Push)
    assert webhook.delivery_id(headers, Secret("s3cret"), said) is None


def test_a_push_concerns_enabled_environments_of_its_branch(environment: Callable[..., Environment]) -> None:
    environments = [
        environment("main"),
        environment("staging", ref="release"),
        environment("old", enable=False),
    ]
    assert webhook.follows(environments, Push("main"))
    assert webhook.follows(environments, Push("release"))
    assert webhook.follows(environments, Push(None))
    assert not webhook.follows(environments, Push("staging"))
    assert not webhook.follows(environments, Push("old"))
    assert not webhook.follows(environments[2:], Push(None))


def flake(branch: str | None, reference: str = "HEAD") -> Input:
    return Input("demo__drupal", "git+https://example.org/x", "a" * 40, "sha256-x", reference, branch)


@pytest.mark.parametrize(
    ("flake_of", "push", "expected"),
    [
        (flake("main"), Push("main"), True),
        (flake("main"), Push("feature"), False),
        (flake("main"), Push("feature", "main"), False),
        (flake("master"), Push("main", "main"), True),
        (flake("master"), Push("master", "main"), False),
        (flake(None), Push("main", "main"), True),
        (flake(None), Push("main"), False),
        (flake(None), Push(None), False),
        (flake("hosting", "refs/heads/hosting"), Push("hosting", "main"), True),
        (flake("hosting", "refs/heads/hosting"), Push("main", "main"), False),
    ],
)
def test_a_push_to_the_branch_of_the_flake_plans_the_project(
    flake_of: Input, push: Push, expected: bool
) -> None:
    assert webhook.plans(flake_of, push) is expected


@pytest.mark.parametrize(
    ("payload", "branch"),
    [
        ({"ref": "refs/heads/a", "repository": {"default_branch": "main"}}, "main"),
        ({"ref": "refs/heads/a", "repository": {"name": "x"}, "project": {"default_branch": "main"}}, "main"),
        ({"ref": "refs/heads/a", "repository": {"default_branch": 7}, "project": "x"}, None),
        ({"ref": "refs/heads/a"}, None),
    ],
)
def test_the_default_branch_that_the_sender_names(payload: dict[str, object], branch: str | None) -> None:
    assert webhook.parse({}, json.dumps(payload).encode()) == Push("a", branch)


def test_the_hash_of_any_environment_means_the_project(environment: Callable[..., Environment]) -> None:
    environments = {each.user_name: each for each in (environment("main"), environment("staging"))}
    plan = Plan("demo.hostenv.test", "http://provider", environments, ("node-a",))
    for each in environments.values():
        assert webhook.projects_of_hash(plan, each.project_name_hash) == ["demo__drupal"]
    assert webhook.projects_of_hash(plan, "0" * 64) == []


def test_secrets_of_webhooks_are_kept_privately(config: Config) -> None:
    assert webhook_secrets.read(config, "demo__drupal") is None
    value = webhook_secrets.create(config, "demo__drupal")
    assert webhook_secrets.read(config, "demo__drupal") == Secret(value)
    assert len(value) == 64
    path = config.webhook_secrets_dir / "demo__drupal.json"
    assert path.stat().st_mode & 0o777 == 0o600
    webhook_secrets.leave_open(config, "demo__drupal")
    assert webhook_secrets.read(config, "demo__drupal") == Secret(None)
    assert webhook_secrets.read(replace(config), "demo__other") is None


def test_a_replaced_webhook_secret_passes_until_the_new_one_was_used(config: Config) -> None:
    first = webhook_secrets.create(config, "demo__drupal")
    second = webhook_secrets.rotate(config, "demo__drupal")
    third = webhook_secrets.rotate(config, "demo__drupal")
    secret = webhook_secrets.read(config, "demo__drupal")
    assert secret == Secret(third, (first, second))
    for value, found in ((first, Signature.PREVIOUS), (second, Signature.PREVIOUS), (third, Signature.VALID)):
        for headers in ({"x-gitlab-token": value}, {"x-hub-signature-256": sign(value, b"{}")}):
            assert webhook.check_signature(secret, headers, lambda: b"{}") is found
    webhook_secrets.forget_previous(config, "demo__drupal", Secret(second, (first,)))
    assert webhook_secrets.read(config, "demo__drupal") == secret
    webhook_secrets.forget_previous(config, "demo__drupal", secret)
    assert webhook_secrets.read(config, "demo__drupal") == Secret(third)
    with pytest.raises(HostenvError, match="has no secret"):
        webhook_secrets.rotate(config, "demo__other")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"secret": ""}',
        '{"secret": 7}',
        '{"secret": "x", "previous": [""]}',
        '{"open": "yes"}',
    ],
)
def test_a_damaged_secret_lets_nobody_in(config: Config, text: str) -> None:
    webhook_secrets.create(config, "demo__drupal")
    (config.webhook_secrets_dir / "demo__drupal.json").write_text(text)
    with pytest.raises(HostenvError):
        webhook_secrets.read(config, "demo__drupal")
