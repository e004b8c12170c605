"""Whole deliveries of Git hosts, in `deliveries/`, sent to the service's socket (contract 4, webhooks).

Headers and bodies have the fields that GitHub and GitLab document; the signature is added here.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hostenv_core.states import JobState
from hostenv_provider.plan.plan import Environment
from hostenv_provider.secrets import webhook_secrets

FOLDER = Path(__file__).parent / "deliveries"
PUSHES = ("github-push", "github-push-as-form", "gitlab-push", "gitlab-system-push")
IGNORED = {
    "github-push-of-another-branch": "follows feature/main",
    "github-push-of-a-tag": "refs/tags/main is not a branch",
    "github-deleted-branch": "refs/heads/main was deleted",
    "github-ping": "'ping' is not a push",
    "github-ping-as-form": "'ping' is not a push",
    "github-create-of-a-branch": "'create' is not a push",
    "gitlab-push-of-another-branch": "follows feature/main",
    "gitlab-push-of-a-tag": "'Tag Push Hook' is not a push",
    "gitlab-deleted-branch": "refs/heads/main was deleted",
    "gitlab-merge-request": "'Merge Request Hook' is not a push",
}


@dataclass(frozen=True)
class Delivery:
    """A request as a Git host sends it; `headers` without the signature."""

    name: str
    headers: dict[str, str]
    body: bytes

    @classmethod
    def load(cls, name: str) -> "Delivery":
        head, _, body = (FOLDER / f"{name}.http").read_bytes().partition(b"\n\n")
        pairs = (line.split(": ", 1) for line in head.decode().splitlines())
        return cls(name, dict(pairs), body)

    def signed(self, secret: str) -> dict[str, str]:
        """All headers, with what proves that the sender knows the secret."""
        if self.name.startswith("gitlab"):
            return {**self.headers, "X-Gitlab-Token": secret}
        digests = {
            kind: hmac.new(secret.encode(), self.body, kind).hexdigest() for kind in ("sha1", "sha256")
        }
        return {
            **self.headers,
            "X-Hub-Signature": f"sha1={digests['sha1']}",
            "X-Hub-Signature-256": f"sha256={digests['sha256']}",
        }


@dataclass(frozen=True)
class Receiver:
    """The service with one guarded project, and what became of it."""

    api: Any
    path: str
    secret: str

    def deliver(self, headers: dict[str, str], body: bytes) -> Any:
        # As from nginx: the network's mark, one connection for each request.
        return self.api.request("POST", self.path, body, {**headers, "X-Hostenv-Public": "1"})

    def jobs(self) -> list[str]:
        return [job.job_id for job in self.api.store.recent_jobs(10)]


@pytest.fixture
def receiver(api: Any, environment: Callable[..., Environment]) -> Receiver:
    secret = webhook_secrets.create(api.config, "demo__drupal")
    return Receiver(api, f"/webhook/{environment('main').project_name_hash}", secret)


def test_every_delivery_is_tried() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {*PUSHES, *IGNORED}


@pytest.mark.parametrize("name", PUSHES)
def test_a_signed_push_moves_its_branch(receiver: Receiver, name: str) -> None:
    delivery = Delivery.load(name)
    answer = receiver.deliver(delivery.signed(receiver.secret), delivery.body)
    assert (answer.status, answer.json) == (202, {"accepted": True, "jobId": answer.json["jobId"]})
    assert receiver.jobs() == [answer.json["jobId"]]
    assert receiver.api.store.job(answer.json["jobId"]).request.refs == frozenset({"main"})


@pytest.mark.parametrize("name", IGNORED)
def test_whatever_else_is_sent_is_answered_and_starts_nothing(receiver: Receiver, name: str) -> None:
    delivery = Delivery.load(name)
    answer = receiver.deliver(delivery.signed(receiver.secret), delivery.body)
    assert (answer.status, answer.json["accepted"]) == (202, False)
    assert IGNORED[name] in answer.json["reason"]
    assert receiver.jobs() == []


@pytest.mark.parametrize("name", [*PUSHES, *IGNORED])
def test_an_unsigned_delivery_is_refused_whatever_it_says(receiver: Receiver, name: str) -> None:
    delivery = Delivery.load(name)
    answer = receiver.deliver(delivery.headers, delivery.body)
    assert (answer.status, answer.json) == (401, {"error": "missing webhook signature"})
    assert receiver.jobs() == []


@pytest.mark.parametrize("name", [*PUSHES, *IGNORED])
def test_a_wrongly_signed_delivery_is_refused_whatever_it_says(receiver: Receiver, name: str) -> None:
    delivery = Delivery.load(name)
    for headers, body in (
        (delivery.signed("another secret"), delivery.body),
        (delivery.signed(""), delivery.body),
        (
            {key: value.replace(receiver.secret, "") for key, value in delivery.signed("x").items()},
            delivery.body,
        ),
    ):
        answer = receiver.deliver(headers, body)
        assert (answer.status, answer.json) == (401, {"error": "invalid webhook signature"})
    assert receiver.jobs() == []


def test_a_body_that_was_changed_on_its_way_is_refused(receiver: Receiver) -> None:
    delivery = Delivery.load("github-push")
    for body in (delivery.body + b" ", delivery.body.replace(b"main", b"next"), b"", delivery.body[:-1]):
        assert receiver.deliver(delivery.signed(receiver.secret), body).status == 401
    assert receiver.jobs() == []


def test_the_old_signature_of_github_alone_does_not_count(receiver: Receiver) -> None:
    delivery = Delivery.load("github-push")
    headers = delivery.signed(receiver.secret)
    del headers["X-Hub-Signature-256"]
    assert receiver.deliver(headers, delivery.body).json == {"error": "missing webhook signature"}


@pytest.mark.parametrize("name", PUSHES)
def test_a_replayed_delivery_starts_no_second_job(receiver: Receiver, name: str) -> None:
    delivery = Delivery.load(name)
    answers = [receiver.deliver(delivery.signed(receiver.secret), delivery.body).json for _ in range(5)]
    assert len({answer["jobId"] for answer in answers}) == 1
    assert len(receiver.jobs()) == 1


@pytest.mark.parametrize("name", [name for name in PUSHES if name.startswith("github")])
@pytest.mark.parametrize("another", [{"X-GitHub-Delivery": "another"}, {"X-GitHub-Delivery": ""}])
def test_a_replay_under_another_id_starts_no_second_job(
    receiver: Receiver, name: str, another: dict[str, str]
) -> None:
    delivery = Delivery.load(name)
    headers = delivery.signed(receiver.secret)
    first = receiver.deliver(headers, delivery.body).json["jobId"]
    assert receiver.deliver({**headers, **another}, delivery.body).json["jobId"] == first
    assert receiver.jobs() == [first]


@pytest.mark.parametrize("name", PUSHES)
def test_a_redelivery_after_a_failure_starts_a_new_job(receiver: Receiver, name: str) -> None:
    delivery = Delivery.load(name)

    def send() -> str:
        return str(receiver.deliver(delivery.signed(receiver.secret), delivery.body).json["jobId"])

    first = send()
    receiver.api.store.fail(first, "its flake does not evaluate")
    second = send()
    assert second != first
    assert send() == second
    assert receiver.api.store.job(first).state is JobState.FAILED
    assert receiver.jobs() == [second, first]


def test_a_replay_without_the_secret_does_not_even_learn_of_the_job(receiver: Receiver) -> None:
    delivery = Delivery.load("gitlab-push")
    receiver.deliver(delivery.signed(receiver.secret), delivery.body)
    assert receiver.deliver(delivery.headers, delivery.body).json == {"error": "missing webhook signature"}


def test_the_ids_of_one_project_mean_nothing_to_another_hash(
    receiver: Receiver, environment: Callable[..., Environment]
) -> None:
    delivery = Delivery.load("github-push")
    headers = delivery.signed(receiver.secret)
    first = receiver.deliver(headers, delivery.body).json["jobId"]
    other = Receiver(receiver.api, f"/webhook/{environment('staging').project_name_hash}", receiver.secret)
    assert other.deliver(headers, delivery.body).json["jobId"] != first


def test_the_digest_is_the_one_that_github_documents() -> None:
    body = Delivery("github-x", {}, b"Hello, World!")
    signature = body.signed("It's a Secret to Everybody")["X-Hub-Signature-256"]
    assert signature == "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
