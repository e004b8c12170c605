"""The operator's rows of contract 4's table, over a real AF_UNIX socket, and how others' words are shown."""

import json
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import pytest
from hostenv_core.errors import HostenvError
from hostenv_core.states import Status
from hostenv_provider.cli import cancel, jobs
from hostenv_provider.plan.plan import Environment
from hostenv_provider.rules.jobs import Request
from hostenv_provider.web.api import MAX_MESSAGE

MakeEnvironment = Callable[..., Environment]
PUBLIC = {"X-Hostenv-Public": "1"}
HOSTILE = "first\x1b[2J\x1b]0;owned\x07\nsecond\r\u202e" + "x" * 50_000


def test_health(api: Any) -> None:
    answer = api.request("GET", "/health")
    assert (answer.status, answer.json["status"]) == (200, "ok")
    api.problem = "the worker has stopped"
    assert api.request("GET", "/health").status == 503


def test_jobs_are_shown_on_the_socket_only(api: Any, job: str) -> None:
    listed = api.request("GET", "/api/jobs").json["jobs"]
    assert [each["state"] for each in listed] == ["waiting", "succeeded"]
    shown = api.request("GET", f"/api/jobs/{job}")
    assert shown.json == listed[0]
    assert shown.json["commitSha"] == api.store.job(job).commit_sha
    assert len(shown.json["actions"]) == 5
    assert api.request("GET", "/api/jobs/none").status == 404
    for method, path in (("GET", "/api/jobs"), ("GET", f"/api/jobs/{job}"), ("POST", "/api/jobs")):
        assert api.request(method, path, b"{}", PUBLIC).status == 404
    assert api.request("GET", "/api/git-access", headers=PUBLIC).status == 404


def test_commands_start_jobs(api: Any, environment: MakeEnvironment) -> None:
    user = environment().user_name

    def start(**document: object) -> Request:
        answer = api.post("/api/jobs", document, None)
        assert answer.status == 202, answer.body
        assert answer.json["accepted"] is True
        job_id = answer.json["jobId"]
        request: Request = api.store.job(job_id).request
        api.store.fail(job_id, "seen")
        return request

    assert start(environment="demo__drupal/main") == Request("demo__drupal", frozenset({"main"}))
    assert start(environment=user, node="node-b", skipMigrations=True) == Request(
        "demo__drupal", placements={user: "node-b"}, skip_migrations=frozenset({user})
    )
    assert start(environment=user, node="node-b", acceptLoss=True) == Request(
        "demo__drupal", placements={user: "node-b"}, accept_loss=frozenset({user})
    )
    assert start(environment=user, node="node-b", migrationSource="node-a").migration_sources == {
        user: "node-a"
    }
    for rev in ("1" * 40, "2" * 40):
        each = environment(rev=rev)
        api.provider.finish(api.provider.deploy(each), [each], "node-a")
    assert start(environment=user, rollback=True) == Request("demo__drupal", rollbacks={user: "main"})


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({}, 400),
        ({"environment": 7}, 400),
        ({"environment": "demo__drupal/none"}, 404),
        ({"environment": "demo__drupal/main", "node": "node-z"}, 400),
        ({"environment": "demo__drupal/main", "node": 7}, 400),
        ({"environment": "demo__drupal/main", "migrationSource": "node-z"}, 400),
        ({"environment": "demo__drupal/main", "skipMigrations": "yes"}, 400),
        ({"environment": "demo__drupal/main", "rollback": True}, 400),
        ({"environment": "demo__drupal/main", "acceptLoss": "yes"}, 400),
        ({"environment": "demo__drupal/main", "rollback": True, "node": "node-b"}, 400),
        ({"environment": "demo__drupal/main", "rollback": True, "acceptLoss": True}, 400),
        ([], 400),
    ],
)
def test_a_command_that_makes_no_sense_starts_nothing(api: Any, document: object, status: int) -> None:
    answer = api.post("/api/jobs", document, None)
    assert answer.status == status
    assert answer.json["error"]
    assert api.store.recent_jobs(10) == []


def test_a_message_is_one_printable_line_of_readable_length(api: Any, job: str) -> None:
    document = {"node": "node-a", "status": "failed", "phase": "backup", "message": HOSTILE}
    assert api.post(f"/api/deploy-jobs/{job}/events", document).status == 200

    shown = api.get(f"/api/deploy-jobs/{job}/status?node=node-a").json["status"]["message"]

    assert shown.startswith("first?[2J?]0;owned? second ?xxx")
    assert len(shown) == MAX_MESSAGE
    assert shown.isprintable()


def test_a_job_shows_what_its_node_says_about_it(
    api: Any, job: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"node": "node-a", "status": "waiting", "message": "could not thaw it: Unit is masked"}
    assert api.post(f"/api/deploy-jobs/{job}/events", said).status == 200

    jobs.run(Namespace(json=False, job=job, follow=False), api.config)

    assert "  node-a       could not thaw it: Unit is masked" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_what_others_wrote_does_nothing_to_the_operators_terminal(
    api: Any, job: str, capsys: pytest.CaptureFixture[str], follow: bool, named: bool
) -> None:
    api.store.fail(job, HOSTILE)
    arguments = {"job": job if named or follow else None, "follow": follow}

    jobs.run(Namespace(json=False, **arguments), api.config)
    for line in capsys.readouterr().out.splitlines():
        assert line.isprintable()
        assert not line.startswith("second")

    jobs.run(Namespace(json=True, **arguments), api.config)
    document = json.loads(capsys.readouterr().out)
    assert (document if arguments["job"] else document[0])["reason"] == HOSTILE


def test_an_operator_ends_a_job(
    api: Any, job: str, environment: MakeEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "ann")
    assert cancel.run(Namespace(job=job[:8]), api.config) == 0
    assert api.store.job(job).reason == "cancelled by ann"
    assert {each.row.status for each in api.store.actions(job)} == {Status.FAILED}
    with pytest.raises(HostenvError, match="the job has ended already: it is failed"):
        cancel.run(Namespace(job=job), api.config)

    moved = environment(node="node-b")
    late = api.provider.deploy(moved)
    api.provider.until_check(late)
    api.provider.verify(late, moved.user_name)
    answer = api.post(f"/api/jobs/{late}/cancel", {"by": "ann"}, None)
    assert (answer.status, answer.json["state"]) == (409, "waiting")
    assert "is deployed on node-b" in answer.json["error"]
    assert api.post("/api/jobs/none/cancel", {"by": "ann"}, None).status == 404
    for body in ({}, {"by": 7}, {"by": " "}):
        assert api.post(f"/api/jobs/{late}/cancel", body, None).status == 400
