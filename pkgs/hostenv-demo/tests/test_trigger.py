"""trigger-webhook.sh against a service behind a real Unix socket."""

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer

import pytest
from hostenv_demo.names import PROJECT_HASH

COMMAND = Path(__file__).parents[3] / "trigger-webhook.sh"


class Service(ThreadingMixIn, UnixStreamServer):
    """Accepts webhooks; the job it starts goes through `states`, one for each request."""

    daemon_threads = True

    def __init__(self, path: Path, states: list[str], accepted: bool = True, status: int = 202) -> None:
        self.states = states
        self.accepted = accepted
        self.status = status
        self.pushes: list[tuple[str, object]] = []
        super().__init__(str(path), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.pushes.append((self.path, json.loads(body)))
        if self.server.status >= 400:
            self.answer(self.server.status, {"error": "the plan knows no such hash"})
        elif self.server.accepted:
            self.answer(202, {"accepted": True, "jobId": "1234-5678"})
        else:
            self.answer(202, {"accepted": False, "reason": "not followed"})

    def do_GET(self) -> None:
        states = self.server.states
        state = states.pop(0) if len(states) > 1 else states[0]
        row = {"node": "node-a", "op": "backup", "user": "u", "message": None}
        row["status"] = "success" if state == "succeeded" else "running"
        job = {"jobId": "1234-5678", "state": state, "reason": "because" if state == "failed" else None}
        self.answer(200, {**job, "actions": [row]})

    def answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def service(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Service]:
    (tmp_path / "runtime").mkdir()
    server = Service(tmp_path / "runtime/hostenv-provider.sock", *getattr(request, "param", (["succeeded"],)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def trigger(workdir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "--workdir", workdir, *arguments], capture_output=True, text=True, timeout=60
    )


def test_the_job_is_printed_as_json_once_it_has_ended(service: Service, tmp_path: Path) -> None:
    service.states[:] = ["queued", "waiting", "succeeded"]
    done = trigger(tmp_path, "--commit-sha", "abc123")
    assert (done.returncode, json.loads(done.stdout)["jobId"]) == (0, "1234-5678")
    assert json.loads(done.stdout)["state"] == "succeeded"
    assert service.pushes == [(f"/webhook/{PROJECT_HASH}", {"ref": "refs/heads/main", "after": "abc123"})]
    assert "backup" not in done.stderr


def test_follow_shows_each_step_once_on_standard_error(service: Service, tmp_path: Path) -> None:
    service.states[:] = ["waiting", "waiting", "succeeded"]
    done = trigger(tmp_path, "--follow")
    assert done.returncode == 0
    assert json.loads(done.stdout)
    assert [line.split() for line in done.stderr.splitlines()[1:]] == [
        ["job", "1234-567:", "waiting"],
        ["node-a", "backup", "running"],
        ["job", "1234-567:", "succeeded"],
        ["node-a", "backup", "success"],
    ]


@pytest.mark.parametrize("service", [(["failed"],), (["superseded"],)], indirect=True)
def test_a_job_that_did_not_succeed_is_a_failure(service: Service, tmp_path: Path) -> None:
    done = trigger(tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["state"] in service.states


@pytest.mark.parametrize("service", [(["queued"], False)], indirect=True)
@pytest.mark.usefixtures("service")
def test_a_push_that_starts_nothing_says_why(tmp_path: Path) -> None:
    done = trigger(tmp_path)
    assert (done.returncode, json.loads(done.stdout)["accepted"]) == (1, False)
    assert "not followed" in done.stderr


@pytest.mark.parametrize("service", [(["queued"], True, 404)], indirect=True)
@pytest.mark.usefixtures("service")
def test_a_refusal_is_one_line(tmp_path: Path) -> None:
    done = trigger(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "trigger-webhook: the service refused: the plan knows no such hash\n"


def test_without_a_run_it_says_what_to_name(tmp_path: Path) -> None:
    done = trigger(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--workdir" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["--commit-sha", "zz"], ["--commit", "abcd"], ["extra"]])
def test_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    assert trigger(tmp_path, *arguments).returncode == 2
