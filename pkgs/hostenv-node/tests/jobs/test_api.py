"""The provider's answers over a real connection (contract 4)."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hostenv_node.config import Config
from hostenv_node.jobs.api import (
    Api,
    ApiError,
    Conflict,
    Event,
    Forbidden,
    NotFound,
    Unreachable,
    git_environment,
    git_url,
)
from node_support import C1, C2, USER, Provider, action


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def api(provider: Provider, configure: Callable[..., Config], pauses: list[float]) -> Api:
    return Api(configure(url=provider.url), sleep=pauses.append)


def test_pending_intents_come_oldest_first_up_to_the_commit(api: Api, provider: Provider) -> None:
    provider.add_job("late", C2, {"node-b": []})
    provider.add_job("early", C1, {"node-b": [action("activate")]})
    provider.add_job("foreign", C1, {"node-a": []})
    found = api.pending(C2)
    assert [(intent.job_id, intent.commit_sha) for intent in found] == [("early", C1), ("late", C2)]
    assert found[0].intent["actions"] == [action("activate")]
    assert [intent.job_id for intent in api.pending(C1)] == ["early"]


def test_the_provider_hears_which_jobs_are_open_unless_they_are_too_many(
    api: Api, provider: Provider
) -> None:
    for opened in ({"two", "one"}, set(), {str(number) for number in range(101)}):
        api.pending(C1, opened)
    told = [request.partition("&open=")[1:] for request in provider.requests]
    assert told == [("&open=", "one%2Ctwo"), ("&open=", ""), ("", "")]


def test_server_errors_are_tried_again_with_growing_pauses(
    api: Api, provider: Provider, pauses: list[float]
) -> None:
    provider.add_job("job", C1, {"node-b": [action("activate")]})
    provider.failures = [503, 500, 429]
    api.post("job", Event("running", "activate", action_index=0))
    assert provider.events == [("job", "running", "activate")]
    assert len(pauses) == 3
    assert pauses == sorted(set(pauses))


def test_provider_that_stays_away_is_unreachable(
    configure: Callable[..., Config], pauses: list[float]
) -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        Api(configure(url="http://127.0.0.1:9"), sleep=pauses.append).pending(C1)
    assert len(pauses) >= 5


def test_an_answer_is_awaited_whatever_it_says(api: Api, provider: Provider, pauses: list[float]) -> None:
    provider.failures = [502, 503]
    provider.token = "another"
    api.await_answer()
    assert len(pauses) == 2


def test_a_change_between_two_requests_is_not_waited_for(api: Api, provider: Provider) -> None:
    job = provider.add_job("job", C1, {"node-b": [action("activate")]})
    provider.on_wait = [lambda: job.rows[0].update(status="failed")]
    api.job("job")
    job.rows[0].update(status="running")
    assert [row.status for row in api.job("job", wait=5).rows] == ["running", "queued"]
    assert [row.status for row in api.job("job", wait=5).rows] == ["failed", "queued"]


def test_refusals_are_not_tried_again(api: Api, provider: Provider, pauses: list[float]) -> None:
    provider.token = "another"
    with pytest.raises(Forbidden):
        api.pending(C1)
    provider.token = "secret-token"
    with pytest.raises(NotFound):
        api.job("unknown")
    assert pauses == []
    assert len(provider.requests) == 2


def test_rotated_token_is_used_at_once(
    api: Api, provider: Provider, configure: Callable[..., Config]
) -> None:
    api.pending(C1)
    provider.token = "fresh"
    configure().token_file.write_text("fresh\n")
    assert api.pending(C1) == []


def test_conflict_carries_the_jobs_state(api: Api, provider: Provider) -> None:
    provider.add_job("job", C1, {"node-b": []}).state = "superseded"
    with pytest.raises(Conflict) as raised:
        api.post("job", Event("success", "intent"))
    assert raised.value.state == "superseded"


def test_event_body(api: Api, provider: Provider) -> None:
    provider.add_job("job", C1, {"node-b": [action("backup")]})
    api.post("job", Event("success", "backup", "x" * 10_000, {"user": USER}, 0))
    body = provider.bodies[0]
    assert (body["node"], body["payload"], body["actionIndex"]) == ("node-b", {"user": USER}, 0)
    assert len(body["message"]) < 5000


def test_snapshots_before_the_backup_succeeded_are_an_error(api: Api, provider: Provider) -> None:
    job = provider.add_job("job", C1, {"node-b": []})
    with pytest.raises(ApiError, match="no backup"):
        api.backup_snapshots("job", "node-a", USER)
    job.snapshots = {"data": "abc123"}
    assert api.backup_snapshots("job", "node-a", USER) == {"data": "abc123"}


def test_secrets(api: Api, provider: Provider) -> None:
    provider.secrets = {"hashSalt": "salt"}
    assert api.secrets(USER) == {"hashSalt": "salt"}


def test_git_reads_with_the_token_in_the_environment_only(configure: Callable[..., Config]) -> None:
    config = configure(url="http://provider")
    assert git_url(config, "demo__drupal") == "http://provider/git/demo__drupal.git"
    environment = git_environment(config)
    assert environment["GIT_CONFIG_KEY_0"] == "http.http://provider/git/.extraHeader"
    assert environment["GIT_CONFIG_VALUE_0"] == "Authorization: Basic bm9kZS1iOnNlY3JldC10b2tlbg=="
    redirects = (environment["GIT_CONFIG_KEY_1"], environment["GIT_CONFIG_VALUE_1"])
    assert (environment["GIT_CONFIG_COUNT"], *redirects) == ("2", "http.followRedirects", "false")


def test_a_part_of_a_live_move_is_sent_and_fetched_whole_whatever_fails_between(
    api: Api, provider: Provider, tmp_path: Path
) -> None:
    content = b"\0\xff" * 2_000_000
    sent, fetched = tmp_path / "sent", tmp_path / "fetched"
    sent.write_bytes(content)
    provider.failures = [503, 500]
    api.send_part("job", USER, "delta-1", sent)
    provider.failures = [503]
    assert api.fetch_part("job", USER, "delta-1", fetched, 5)
    assert fetched.read_bytes() == content
    assert not api.fetch_part("job", USER, "delta-2", fetched, 5)
    assert provider.requests[-1].endswith("delta-2?node=node-b&wait=5")
