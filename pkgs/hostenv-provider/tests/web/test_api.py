"""The nodes' rows of contract 4's table, over a real AF_UNIX socket."""

import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hostenv_core.states import JobState, Status
from hostenv_provider.plan.plan import Environment
from hostenv_provider.rules.jobs import Request
from hostenv_provider.rules.retention import JOBS_KEPT, Retention
from hostenv_provider.store.pruning import START

MakeEnvironment = Callable[..., Environment]


def sha(number: int) -> str:
    return f"{number:040x}"


# GET /api/deploy-intents/…


def test_the_intent_of_a_commit(api: Any, job: str) -> None:
    commit = api.store.job(job).commit_sha
    answer = api.get(f"/api/deploy-intents/by-sha?sha={commit}&node=node-a")
    assert answer.status == 200
    assert answer.json["jobId"] == job
    assert (answer.json["commitSha"], answer.json["node"]) == (commit, "node-a")
    assert [action["op"] for action in answer.json["intent"]["actions"]] == ["backup", "deactivate"]
    assert answer.json["intent"]["schemaVersion"] == 1


def test_no_intent_at_another_commit_or_after_the_jobs_end(api: Any, job: str) -> None:
    commit = api.store.job(job).commit_sha
    assert api.get(f"/api/deploy-intents/by-sha?sha={sha(99)}&node=node-a").status == 404
    api.store.fail(job, "end")
    assert api.get(f"/api/deploy-intents/by-sha?sha={commit}&node=node-a").status == 404


def test_pending_are_all_intents_at_or_before_a_commit(
    api: Any, job: str, environment: MakeEnvironment
) -> None:
    later = api.provider.deploy(environment(project="shop"))
    before, after = (api.store.job(each).commit_sha for each in (job, later))

    def pending(commit: str) -> list[str]:
        answer = api.get(f"/api/deploy-intents/pending?sha={commit}&node=node-a")
        assert answer.status == 200
        assert answer.json["node"] == "node-a"
        return [intent["jobId"] for intent in answer.json["intents"]]

    assert pending(sha(0)) == []
    assert pending(before) == [job]
    assert pending(after) == [job, later]
    api.store.fail(job, "end")
    assert pending(after) == [later]


def test_a_job_stays_while_a_node_says_that_it_has_it_open(api: Any, job: str) -> None:
    store, retention = api.store, Retention(jobs=1, deliveries=1)
    store.fail(job, "end")
    for _ in range(JOBS_KEPT + 1):
        store.enqueue(Request("demo__drupal"))
    api.provider.clock.move(2 * 24 * 3600)

    def removed(*opened: str | None) -> bool:
        for node, said in zip(("node-a", "node-b"), opened, strict=True):
            said = "" if said is None else f"&open={said}"
            assert api.get(f"/api/deploy-intents/pending?sha={sha(0)}&node={node}{said}", node).status == 200
        return job in store.remove_jobs(retention, {"node-a", "node-b"}, START).removed

    assert not removed(None, None)
    assert not removed("", f"other,{job}")
    assert not removed("", ",".join(str(number) for number in range(1000)))
    assert removed("", "other")
    answer = api.get(f"/api/deploy-jobs/{job}/actions?node=node-a")
    assert answer.status == 404
    answer = api.get(f"/api/jobs/{job}", None)
    assert (answer.status, answer.json["error"]) == (404, "no such job, or it ended over 90 days ago")


def test_a_node_says_which_database_it_has(api: Any) -> None:
    for series in ("10.11", "11.8", "11.8"):
        api.get(f"/api/deploy-intents/pending?sha={'0' * 40}&node=node-a&database={series}")
    assert api.store.databases() == {"node-a": "11.8"}
    assert api.get(f"/api/deploy-intents/pending?sha={'0' * 40}&node=node-a&database=mysql").status == 400


@pytest.mark.parametrize("route", ["by-sha", "pending"])
@pytest.mark.parametrize(
    "query", ["", "?node=node-a", f"?sha={sha(1)}", "?sha=--all&node=node-a", "?sha=&node="]
)
def test_intents_need_a_commit_and_a_node(api: Any, route: str, query: str) -> None:
    answer = api.get(f"/api/deploy-intents/{route}{query}")
    assert answer.status == 400
    assert answer.json["error"]


# GET /api/deploy-jobs/{jobId}/…


def test_an_intent_by_job(api: Any, job: str) -> None:
    answer = api.get(f"/api/deploy-jobs/{job}/intents/node-b", "node-b")
    assert answer.status == 200
    assert (answer.json["jobId"], answer.json["node"]) == (job, "node-b")
    assert [action["op"] for action in answer.json["intent"]["actions"]] == ["restore", "activate"]
    assert api.get("/api/deploy-jobs/none/intents/node-b", "node-b").status == 404
    assert api.get(f"/api/deploy-jobs/{job}/intents/node-b", "node-a").status == 403


def test_the_latest_event_of_a_node(api: Any, job: str) -> None:
    path = f"/api/deploy-jobs/{job}/status?node=node-a"
    first = api.get(path).json
    assert (first["status"]["status"], first["status"]["phase"]) == ("queued", "intent")
    api.provider.post(job, "node-a", "backup", Status.RUNNING)
    second = api.get(path).json
    assert second["jobId"] == job
    assert set(second["status"]) == {"eventId", "node", "status", "phase", "message", "createdAt"}
    assert (second["status"]["status"], second["status"]["phase"]) == ("running", "backup")
    assert second["status"]["message"] is None
    assert second["status"]["createdAt"] == "2026-03-01T00:00:00.000000Z"


def test_the_latest_event_of_every_node(api: Any, job: str) -> None:
    api.provider.post(job, "node-a", "backup", Status.RUNNING)
    answer = api.get(f"/api/deploy-jobs/{job}/statuses?node=node-b", "node-b").json
    assert (answer["jobId"], answer["node"]) == (job, "node-b")
    assert [(each["node"], each["status"]) for each in answer["statuses"]] == [
        ("node-a", "running"),
        ("node-b", "queued"),
    ]


def test_a_nodes_own_rows_and_all_rows(api: Any, job: str) -> None:
    own = api.get(f"/api/deploy-jobs/{job}/actions?node=node-a").json
    assert own["state"] == "waiting"
    assert [(each["actionIndex"], each["op"]) for each in own["actions"]] == [
        (0, "backup"),
        (1, "deactivate"),
    ]
    assert set(own["actions"][0]) == {
        *("node", "actionIndex", "op", "user", "status", "message", "startedAt", "finishedAt", "updatedAt")
    }
    rows = api.get(f"/api/deploy-jobs/{job}/actions?node=node-a&all=1").json["actions"]
    assert [(each["node"], each["op"]) for each in rows] == [
        ("node-a", "backup"),
        ("node-a", "deactivate"),
        ("node-b", "restore"),
        ("node-b", "activate"),
        ("provider", "verify"),
    ]
    api.store.fail(job, "an operator's wish")
    ended = api.get(f"/api/deploy-jobs/{job}/actions?node=node-a&all=1&wait=30").json
    assert ended["state"] == "failed"
    assert {each["status"] for each in ended["actions"]} == {"failed"}


def test_an_answer_can_be_held_until_something_changes(api: Any, job: str) -> None:
    answers: list[Any] = []
    path = f"/api/deploy-jobs/{job}/actions?node=node-b&all=1&wait=30"
    tag = api.get(path.removesuffix("&wait=30"), "node-b").headers["etag"]
    headers = {"If-None-Match": tag}
    thread = threading.Thread(target=lambda: answers.append(api.get(path, "node-b", **headers)))
    thread.start()
    api.provider.post(job, "node-a", "backup", Status.RUNNING)
    thread.join(29)
    assert answers
    assert answers[0].json["actions"][0]["status"] == "running"
    assert answers[0].headers["etag"] != tag


def test_a_change_between_two_requests_is_not_waited_for(api: Any, job: str) -> None:
    tag = api.get(f"/api/deploy-jobs/{job}/actions?node=node-a").headers["etag"]
    api.provider.post(job, "node-a", "backup", Status.RUNNING)
    # Were it held, the request would run into its limit of 30 s, as long as the test's client waits.
    answer = api.get(f"/api/deploy-jobs/{job}/actions?node=node-a&wait=30", **{"If-None-Match": tag})
    assert answer.json["actions"][0]["status"] == "running"


@pytest.mark.parametrize("wait", ["", "-1", "x", "1e9", "nan", "1" * 20])
def test_a_wait_is_a_number_of_seconds(api: Any, job: str, wait: str) -> None:
    assert api.get(f"/api/deploy-jobs/{job}/actions?node=node-a&wait={wait}").status == 400


def test_the_snapshot_of_a_backup(api: Any, job: str, environment: MakeEnvironment) -> None:
    user = environment().user_name
    path = f"/api/deploy-jobs/{job}/backup-snapshot?node=node-b&source=node-a&user={user}"
    assert api.get(path, "node-b").json == {
        "jobId": job,
        "node": "node-b",
        "sourceNode": "node-a",
        "user": user,
        "payload": None,
    }
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(api.get(f"{path}&wait=30", "node-b")))
    thread.start()
    api.provider.post(job, "node-a", "backup")
    thread.join(29)
    assert answers[0].json["payload"]["snapshots"] == {"drupal-migrate": "9f0c" * 16}
    assert api.get(path.replace(user, "drupal-other-1234567"), "node-b").json["payload"] is None


@pytest.mark.parametrize("route", ["status", "statuses", "actions", "backup-snapshot"])
def test_who_may_ask_about_a_job(api: Any, job: str, route: str, environment: MakeEnvironment) -> None:
    query = f"&source=node-a&user={environment().user_name}"
    path = f"/api/deploy-jobs/{job}/{route}"
    assert api.get(path).status == 400
    forbidden = api.get(f"{path}?node=node-b{query}", "node-a")
    assert (forbidden.status, forbidden.body) == (403, b"")
    assert api.get(f"{path}?node=node-a{query}", None).status == 403
    assert api.get(f"/api/deploy-jobs/none/{route}?node=node-a{query}").status == 404
    stranger = api.provider.deploy(environment(project="shop"))
    assert api.get(f"/api/deploy-jobs/{stranger}/{route}?node=node-b{query}", "node-b").status == 404


def test_the_snapshots_parameters_are_needed(api: Any, job: str) -> None:
    for query in ("?node=node-a&source=node-a", "?node=node-a&user=x"):
        assert api.get(f"/api/deploy-jobs/{job}/backup-snapshot{query}").status == 400


def test_a_node_sees_its_job_end(api: Any, job: str) -> None:
    api.store.fail(job, "end")
    assert api.provider.state(job) is JobState.FAILED
    assert api.get(f"/api/deploy-jobs/{job}/actions?node=node-b&all=1", "node-b").json["state"] == "failed"


# POST /api/deploy-jobs/{jobId}/events


def test_an_event_moves_its_row(api: Any, job: str) -> None:
    event = {"node": "node-a", "status": " Running ", "phase": "backup", "actionIndex": 0, "unknown": 1}
    answer = api.post(f"/api/deploy-jobs/{job}/events", event)
    assert answer.status == 200
    assert ("node-a", "backup", "running") in api.provider.rows(job)


def test_what_a_node_says_again_and_again_does_not_fill_the_database(api: Any, job: str) -> None:
    path, filler = f"/api/deploy-jobs/{job}/events", {"filler": "x" * 60_000}
    size = sum(file.stat().st_size for file in api.provider.path.parent.glob("provider.sqlite3*"))
    for number in range(60):
        for status in ("running", "waiting"):
            for phase in ("backup", "intent"):
                event = {"node": "node-a", "status": status, "phase": phase, "message": f"{number}"}
                assert api.post(path, {**event, "payload": filler}).status == 200
    large = {"node": "node-a", "phase": "backup", "payload": {"filler": "x" * 900_000}}
    assert api.post(path, large).status == 413
    after = sum(file.stat().st_size for file in api.provider.path.parent.glob("provider.sqlite3*"))
    with sqlite3.connect(api.provider.path) as db:
        kept = db.execute(
            "SELECT COUNT(*), MAX(LENGTH(payload)) FROM events WHERE job = ?", (job,)
        ).fetchone()
    # Two of each kind, and the first of each node, which the service wrote.
    assert kept == (6, None)
    # SQLite's own log is used again from 4 MiB on.
    assert after - size < 5 * 1024 * 1024
    assert api.get(f"/api/deploy-jobs/{job}/status?node=node-a").json["status"]["message"] == "59"


def test_an_events_defaults(api: Any, job: str) -> None:
    assert api.post(f"/api/deploy-jobs/{job}/events", {"node": "node-a"}).status == 200
    status = api.get(f"/api/deploy-jobs/{job}/status?node=node-a").json["status"]
    assert (status["status"], status["phase"]) == ("running", "intent")


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"node": ""},
        {"node": " "},
        {"node": 7},
        {"node": "node-a", "status": "done"},
        {"node": "node-a", "status": None},
        {"node": "node-a", "phase": 7},
        {"node": "node-a", "phase": "reboot"},
        {"node": "node-a", "message": ["x"]},
        {"node": "node-a", "payload": "x"},
        {"node": "node-a", "phase": "backup", "actionIndex": "0"},
        {"node": "node-a", "phase": "backup", "actionIndex": True},
        {"node": "node-a", "phase": "backup", "actionIndex": 1},
        {"node": "node-a", "phase": "backup", "actionIndex": 10**30},
        {"node": "node-a", "phase": "backup", "status": "success"},
        {"node": "node-a", "message": "\ud800"},
        [],
        "node-a",
    ],
)
def test_a_malformed_event_changes_nothing(api: Any, job: str, event: object) -> None:
    before = api.provider.rows(job)
    answer = api.post(f"/api/deploy-jobs/{job}/events", event)
    assert answer.status == 400
    assert answer.json["error"]
    assert api.provider.rows(job) == before


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"node": NaN}', b"[" * 60_000, b"1" * 10_000])
def test_an_event_must_be_json(api: Any, job: str, body: bytes) -> None:
    authorization = {"Authorization": f"Bearer {api.tokens.show('node-a')}"}
    assert api.request("POST", f"/api/deploy-jobs/{job}/events", body, authorization).status == 400


def test_who_may_post_events(api: Any, job: str) -> None:
    path = f"/api/deploy-jobs/{job}/events"
    assert api.post(path, {"node": "node-a"}, "node-b").status == 403
    assert api.post(path, {"node": "node-a"}, None).status == 403
    assert api.post(path, {"node": "provider"}, "node-a").status == 403
    assert api.post("/api/deploy-jobs/none/events", {"node": "node-a"}).status == 404
    # A stranger's body is not read; a node is told that its own is malformed before whether it may say it.
    assert api.request("POST", path, b"{").status == 403
    assert api.post(path, {"node": "node-a", "status": "done"}, "node-b").status == 400


def test_a_late_event_is_told_the_verdict(api: Any, job: str) -> None:
    path = f"/api/deploy-jobs/{job}/events"
    running = {"node": "node-a", "phase": "backup", "actionIndex": 0}
    failed = {**running, "status": "failed", "message": "no space"}
    assert api.post(path, failed).status == 200
    late = api.post(path, {"node": "node-b", "phase": "restore", "actionIndex": 0}, "node-b")
    assert late.status == 409
    assert late.json["state"] == "failed"
    assert late.json["error"]
    assert api.post(path, failed).status == 200


def test_an_action_out_of_order_is_refused(api: Any, job: str) -> None:
    event = {"node": "node-a", "phase": "deactivate", "actionIndex": 1}
    answer = api.post(f"/api/deploy-jobs/{job}/events", event)
    assert (answer.status, answer.json["state"]) == (409, "waiting")


# GET /api/environments/{user}/secrets


def test_secrets_go_to_the_host_and_during_a_move_to_the_target(
    api: Any, job: str, environment: MakeEnvironment
) -> None:
    user = environment().user_name
    path = f"/api/environments/{user}/secrets"
    for node in ("node-a", "node-b"):
        answer = api.get(f"{path}?node={node}", node)
        assert answer.status == 200
        assert answer.json["user"] == user
        assert answer.json["secrets"]["backupUrl"] == f"rest:http://provider/backups/{user}/"
    api.store.fail(job, "end")
    assert api.get(f"{path}?node=node-a", "node-a").status == 200
    assert api.get(f"{path}?node=node-b", "node-b").status == 403
    assert api.get(f"{path}?node=node-a", "node-b").status == 403
    assert api.get(path).status == 400
    assert api.get("/api/environments/drupal-none-1234567/secrets?node=node-a").status == 404
    assert api.get("/api/environments/..%2Ftokens/secrets?node=node-a").status == 404
