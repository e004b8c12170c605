"""Parts of a live move over a real AF_UNIX socket: who may send and read which, and when."""

import os
import threading
from typing import Any

import pytest
from hostenv_provider.web.transfers import MAX_PART

from conftest import environment_of

SERIES = {"node-a": "11.8", "node-b": "11.8"}


@pytest.fixture
def move(api: Any) -> str:
    """A job that moves `main` live from node-a to node-b."""
    here = environment_of(node="node-a")
    api.provider.finish(api.provider.deploy(here), [here], "node-a")
    job: str = api.provider.deploy(environment_of(node="node-b"), databases=SERIES)
    return job


def path(job: str, name: str, node: str) -> str:
    return f"/api/deploy-jobs/{job}/transfer/{environment_of().user_name}/{name}?node={node}"


def put(api: Any, job: str, name: str, node: str, content: bytes = b"x") -> int:
    headers = {"Authorization": f"Bearer {api.tokens.show(node)}"}
    return int(api.request("PUT", path(job, name, node), content, headers).status)


def test_a_part_arrives_as_it_was_sent(api: Any, move: str) -> None:
    content = os.urandom(3 << 20)
    assert put(api, move, "delta-1", "node-a", b"sent before") == 201
    assert put(api, move, "delta-1", "node-a", content) == 201
    answer = api.get(path(move, "delta-1", "node-b"), "node-b")
    assert (answer.status, answer.body) == (200, content)
    assert api.get(path(move, "delta-2", "node-b"), "node-b").status == 404


def test_source_and_target_each_send_their_own_parts(api: Any, move: str) -> None:
    api.tokens.create(["node-c"])
    assert put(api, move, "applied-1", "node-b") == 201
    assert api.get(path(move, "applied-1", "node-a"), "node-a").status == 200
    assert put(api, move, "applied-1", "node-a") == 403
    assert put(api, move, "delta-1", "node-b") == 403
    assert put(api, move, "delta-1", "node-c") == 403
    assert api.get(path(move, "applied-1", "node-c"), "node-c").status == 403
    assert put(api, move, "delta-0", "node-a") == 400
    assert put(api, move, "..%2Fdelta-1", "node-a") == 400


def test_a_part_that_is_waited_for_comes_when_it_is_sent(api: Any, move: str) -> None:
    answers = []

    def wait() -> None:
        answers.append(api.get(path(move, "delta-1", "node-b") + "&wait=30", "node-b"))

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert put(api, move, "delta-1", "node-a", b"at last") == 201
    waiting.join(60)
    assert [answer.body for answer in answers] == [b"at last"]


def test_after_its_end_a_job_takes_and_waits_for_nothing(api: Any, move: str) -> None:
    api.provider.store.fail(move, "no")
    assert put(api, move, "delta-1", "node-a") == 409
    assert api.get(path(move, "delta-1", "node-b") + "&wait=30", "node-b").status == 404


def test_a_part_that_is_too_large_is_refused_by_its_head(api: Any, move: str) -> None:
    headers = {
        "Authorization": f"Bearer {api.tokens.show('node-a')}",
        "Content-Length": str(MAX_PART + 1),
    }
    assert api.request("PUT", path(move, "delta-1", "node-a"), None, headers).status == 413


def test_a_move_that_is_not_live_has_no_parts(api: Any, job: str) -> None:
    assert put(api, job, "delta-1", "node-a") == 403
