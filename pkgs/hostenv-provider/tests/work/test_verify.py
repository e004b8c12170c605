"""The service's own check of an environment, against a real web server on loopback (contract 7)."""

import contextlib
import http.client
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hostenv_core import web
from hostenv_core.checks import Answer, Check, Constraint
from hostenv_core.states import JobState, Status
from hostenv_provider.plan.plan import Environment
from hostenv_provider.rules.jobs import Conflict, Request
from hostenv_provider.rules.stored import Target
from hostenv_provider.work.verify import WRONG_ANSWERS, Fetch, Verifier, fetch, problem

MakeEnvironment = Callable[..., Environment]
OK = Answer(200, b"<p>from-node-a</p>")


class Site:
    """What the front door of a node answers; tests set it."""

    def __init__(self) -> None:
        self.answers = [OK]
        self.asked: list[tuple[str, str]] = []
        self.fetch: Fetch = fetch


@pytest.fixture
def site() -> Iterator[Site]:
    played = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            played.asked.append((self.headers["Host"], self.path))
            answer = played.answers.pop(0) if len(played.answers) > 1 else played.answers[0]
            self.send_response(answer.status)
            self.send_header("Location", "https://elsewhere.example.org/")
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    played.fetch = partial(fetch, port=server.server_address[1])
    yield played
    server.shutdown()
    thread.join()
    server.server_close()


def target(environment: Environment) -> Target:
    return Target("127.0.0.1", environment)


@pytest.mark.parametrize(
    ("status", "good"), [(200, True), (302, True), (399, True), (404, False), (503, False)]
)
def test_without_checks_the_front_page_must_answer(
    site: Site, environment: MakeEnvironment, status: int, good: bool
) -> None:
    site.answers = [Answer(status, b"")]
    found = problem(target(environment()), site.fetch)
    assert (found is None) is good
    assert site.asked == [(environment().hostname, "/")]
    assert good or str(status) in str(found)
    assert found is None or found.definite is (status == 404)


def test_a_projects_own_checks_are_all_made(site: Site, environment: MakeEnvironment) -> None:
    checks = (
        Check("health", None, "/health?full=1", (Constraint("maxHttpStatus", 204),)),
        Check("marker", "main.drupal.example.org", "/", (Constraint("bodyContains", "from-node-a"),)),
    )
    each = environment(checks=checks)
    assert problem(target(each), site.fetch) is None
    assert site.asked == [(each.hostname, "/health?full=1"), ("main.drupal.example.org", "/")]
    site.answers = [OK, Answer(200, b"maintenance")]
    found = problem(target(each), site.fetch)
    assert found is not None
    assert found.text.startswith("marker (main.drupal.example.org/ at 127.0.0.1): bodyContains 'from-node-a'")


def test_a_machine_that_does_not_answer_is_a_problem_in_words(environment: MakeEnvironment) -> None:
    def closed(*_: str) -> Answer:
        raise http.client.RemoteDisconnected("Remote end closed connection without response")

    assert "no answer: Remote end closed" in str(problem(target(environment()), closed))
    refused = problem(target(environment()), partial(fetch, port=1))
    assert refused is not None
    assert "no answer" in refused.text
    assert not refused.definite


def test_an_endless_page_is_cut(site: Site) -> None:
    site.answers = [Answer(200, b"x" * (3 * 1024 * 1024))]
    assert len(site.fetch("127.0.0.1", "host", "/").body) <= 1024 * 1024 + 65536


@pytest.mark.parametrize(
    ("head", "endless"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
)
def test_an_answer_without_end_is_given_up_in_time(
    head: bytes, endless: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "_ANSWER_SECONDS", 0.5)
    given_up = threading.Event()

    def talk() -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(head)
            while not given_up.wait(0.001):
                connection.sendall(endless)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        talking = threading.Thread(target=talk)
        talking.start()
        with pytest.raises(TimeoutError, match=r"longer than 0\.5 s|timed out"):
            fetch("127.0.0.1", "host", "/", listening.getsockname()[1])
        given_up.set()
        talking.join()


def activated(provider: Any, environment: Environment) -> str:
    """A job whose environment its node reports as activated."""
    job: str = provider.deploy(environment)
    provider.post(job, "node-a", "activate")
    return job


def test_the_check_is_repeated_until_it_passes(
    site: Site, provider: Any, environment: MakeEnvironment
) -> None:
    site.answers = [Answer(502, b""), Answer(503, b""), OK]
    job = activated(provider, environment())
    (verification,) = provider.store.verifiable()
    Verifier(provider.store, 60, threading.Event(), site.fetch, pause=0).verify(verification)
    assert ("provider", "verify", "success") in provider.rows(job)
    assert provider.store.deployed("demo__drupal")[environment().user_name].node == "node-a"
    assert len(site.asked) == 3


def test_a_check_that_never_passes_fails_the_job_with_the_last_problem(
    site: Site, provider: Any, environment: MakeEnvironment
) -> None:
    site.answers = [Answer(502, b"")]
    job = activated(provider, environment())
    (verification,) = provider.store.verifiable()
    Verifier(provider.store, 0, threading.Event(), site.fetch, pause=0).verify(verification)
    assert provider.state(job) is JobState.FAILED
    assert "502" in provider.reason(job)
    assert provider.reason(job).startswith(
        f"provider: verify of {environment().user_name} failed: front page"
    )
    assert provider.store.deployed("demo__drupal") == {}


def test_a_target_that_this_version_does_not_understand_fails_its_job(
    site: Site, provider: Any, environment: MakeEnvironment
) -> None:
    job = activated(provider, environment())
    with closing(sqlite3.connect(provider.path)) as other, other:
        other.execute("UPDATE targets SET environment = json_set(environment, '$.uid', 'no number')")
    (verification,) = provider.store.verifiable()
    Verifier(provider.store, 60, threading.Event(), site.fetch, pause=0).verify(verification)
    assert provider.state(job) is JobState.FAILED
    assert f"job {job}, {environment().user_name}: $.uid: must be a whole number" in provider.reason(job)
    assert site.asked == []


def test_an_answer_that_is_wrong_again_and_again_is_given_up_long_before_the_limit(
    site: Site, provider: Any, environment: MakeEnvironment
) -> None:
    wrong, up = Answer(500, b"parse error"), Answer(502, b"")
    site.answers = [wrong, up, *[wrong] * 10, OK]
    job = activated(provider, environment())
    (verification,) = provider.store.verifiable()
    Verifier(provider.store, 1e6, threading.Event(), site.fetch, pause=0).verify(verification)
    assert provider.state(job) is JobState.FAILED
    assert "status 500; 5 times in a row" in provider.reason(job)
    assert len(site.asked) == 2 + WRONG_ANSWERS, "silence in between begins the count anew"


def shown(provider: Any, job: str) -> str | None:
    return next(each.row.message for each in provider.store.actions(job, "provider"))


def test_what_the_check_got_last_and_when_it_gives_up_is_shown(
    provider: Any, environment: MakeEnvironment
) -> None:
    job = activated(provider, environment())
    (verification,) = provider.store.verifiable()
    answers = [Answer(502, b""), Answer(404, b""), OK]
    said = []

    def played(*_: str) -> Answer:
        said.append(shown(provider, job))
        return answers[len(said) - 1]

    progress = provider.store.job(job).progress_at
    provider.clock.move(60)
    Verifier(provider.store, 60, threading.Event(), played, pause=0).verify(verification)
    silent, wrong = (
        f"maxHttpStatus 399 is not met by the answer with status {status}" for status in (502, 404)
    )
    assert said[0] is None
    assert f"{silent}; gives up at 20" in str(said[1])
    assert f"{wrong}; gives up after 5 wrong answers in a row" in str(said[2])
    assert str(said[1]).startswith("last: front page (")
    assert shown(provider, job) is None
    assert provider.store.job(job).progress_at > progress


def test_a_failed_check_is_no_progress(provider: Any, environment: MakeEnvironment) -> None:
    user = environment().user_name
    job = activated(provider, environment())
    provider.store.start_verification(job, user)
    for _ in range(3):
        provider.clock.move(60)
        provider.store.record_failed_check(job, user, "no answer", "gives up later", yields=True)
    assert provider.store.expire(150) == [job]


@pytest.mark.parametrize(
    ("answer", "patience", "lets_through"),
    [(Answer(500, b""), 1e6, True), (Answer(504, b""), 0, True), (Answer(504, b""), 1e6, False)],
)
def test_a_newer_push_ends_a_failing_check(
    provider: Any, environment: MakeEnvironment, answer: Answer, patience: float, lets_through: bool
) -> None:
    job = activated(provider, environment())
    other = provider.store.enqueue(Request("demo__other", None)).job_id
    (verification,) = provider.store.verifiable()
    answers = [answer, answer, OK]
    fix: list[str] = []

    def played(*_: str) -> Answer:
        if len(answers) == 2:
            fix.append(provider.store.enqueue(Request("demo__drupal", None)).job_id)
        return answers.pop(0)

    Verifier(provider.store, 1e6, threading.Event(), played, pause=0, patience=patience).verify(verification)
    assert (provider.state(job) is JobState.FAILED) is lets_through
    taken = [provider.store.take_next().job_id for _ in range(1 + lets_through)]
    assert taken == ([other, fix[0]] if lets_through else [other])
    assert not lets_through or f"; given up for the newer job {fix[0]}" in provider.reason(job)


def test_a_push_does_not_end_what_has_passed(provider: Any, environment: MakeEnvironment) -> None:
    user = environment().user_name
    job = activated(provider, environment())
    provider.verify(job, user)
    provider.store.enqueue(Request("demo__drupal", None))
    outcome = provider.store.record_failed_check(job, user, "status 500", "gives up later", yields=True)
    assert isinstance(outcome, Conflict)
    assert provider.state(job) is JobState.WAITING
    assert provider.store.deployed("demo__drupal")[user].node == "node-a"


def test_a_check_ends_with_its_job_and_its_result_is_discarded(
    provider: Any, environment: MakeEnvironment
) -> None:
    job = activated(provider, environment())
    (verification,) = provider.store.verifiable()

    def job_fails_meanwhile(*_: str) -> Answer:
        provider.post(job, "node-a", "intent", Status.FAILED, message="node on fire")
        return OK

    Verifier(provider.store, 60, threading.Event(), job_fails_meanwhile, pause=0).verify(verification)
    assert provider.reason(job) == "node-a: failed: node on fire"
    assert provider.store.deployed("demo__drupal") == {}


def test_a_check_is_not_repeated_after_its_job(provider: Any, environment: MakeEnvironment) -> None:
    job = activated(provider, environment())
    (verification,) = provider.store.verifiable()
    asked: list[str] = []

    def job_fails_meanwhile(address: str, *_: str) -> Answer:
        asked.append(address)
        if len(asked) == 1:
            provider.post(job, "node-a", "intent", Status.FAILED, message="node on fire")
        return Answer(502 if len(asked) < 3 else 200, b"")

    Verifier(provider.store, 60, threading.Event(), job_fails_meanwhile, pause=0).verify(verification)
    assert len(asked) == 1


def test_each_due_check_is_started_once(provider: Any, environment: MakeEnvironment) -> None:
    activated(provider, environment())
    asked = threading.Semaphore(0)
    answer = threading.Event()
    calls = []

    def slow(*_: str) -> Answer:
        calls.append(1)
        asked.release()
        assert answer.wait(30)
        return OK

    verifier = Verifier(provider.store, 60, threading.Event(), slow, pause=0)
    seen = provider.store.version()
    verifier.start_due()
    assert asked.acquire(timeout=30)
    verifier.start_due()
    assert provider.store.version() > seen
    seen = provider.store.version()
    answer.set()
    provider.store.wait(seen, 30)
    assert calls == [1]
    assert environment().user_name in provider.store.deployed("demo__drupal")
