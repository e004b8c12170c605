"""The whole service as a process: readiness, a job from webhook to verdict, SIGTERM and SIGKILL."""

import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from hostenv_core.checks import Answer
from hostenv_core.states import JobState, Status
from hostenv_provider import stop_point
from hostenv_provider.cli import main
from hostenv_provider.config import PATH_VARIABLE, Config
from hostenv_provider.plan.plan import Environment
from hostenv_provider.plan.settings import ProviderSettings
from hostenv_provider.repository.repository import Repository
from hostenv_provider.rules.jobs import Request
from hostenv_provider.rules.stored import Verification
from hostenv_provider.secrets import webhook_secrets
from hostenv_provider.secrets.environment_secrets import EnvironmentSecrets
from hostenv_provider.secrets.tokens import TokenFile
from hostenv_provider.secrets.webhook_secrets import Secret
from hostenv_provider.service import Service
from hostenv_provider.store.store import Store

PROGRAM = "import sys; from hostenv_provider.cli import main; sys.exit(main())"
COMMAND = [sys.executable, "-c", PROGRAM, "service"]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A provider with an empty repository and its configuration file."""
    path = tmp_path / "provider.json"
    document = {
        "dataDir": str(tmp_path / "data"),
        "socket": str(tmp_path / "provider.sock"),
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "publicUrl": "http://provider",
        "tools": {"git": shutil.which("git"), "nix": "/nonexistent/nix"},
    }
    path.write_text(json.dumps(document))
    monkeypatch.setenv(PATH_VARIABLE, str(path))
    monkeypatch.setenv("HOME", str(tmp_path))
    config = Config.load()
    config.data_dir.mkdir()
    settings = ProviderSettings.parse(
        {
            "hostenvHostname": "demo.hostenv.test",
            "nodeFor": {"default": "node-a"},
            "nodes": {"node-a": {"address": "127.0.0.1"}, "node-b": {"address": "127.0.0.2"}},
        },
        "http://provider",
    )
    repository = Repository(config)
    with repository.locked():
        repository.create(settings)
    return config


@contextmanager
def running(config: Config) -> Iterator[subprocess.Popen[str]]:
    """The service as systemd starts it; it is ready inside."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        address = config.data_dir.parent / "notify"
        address.unlink(missing_ok=True)
        notify.bind(str(address))
        notify.settimeout(60)
        process = subprocess.Popen(
            COMMAND,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NOTIFY_SOCKET": str(address)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert notify.recv(100) == b"READY=1"
            assert process.stdout is not None
            assert process.stdout.readline() == f"hostenv-provider: listening on {config.socket}\n"
            yield process
        finally:
            process.kill()
            process.communicate(timeout=60)


def ask(
    config: Config, method: str, path: str, body: object = None, node: str | None = None
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("service", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(config.socket))
    headers = {"Authorization": f"Bearer {TokenFile(config).show(node)}"} if node else {}
    connection.request(method, path, json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if text else None


def test_it_is_ready_answers_and_ends_cleanly(machine: Config) -> None:
    with running(machine) as process:
        assert ask(machine, "GET", "/health") == (200, {"status": "ok", "jobs": {}})
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert not machine.socket.exists()


def test_a_second_one_refuses_to_start(machine: Config) -> None:
    with running(machine):
        second = subprocess.run(
            COMMAND,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 1
        (line,) = second.stderr.splitlines()
        assert line == f"hostenv-provider: {machine.socket}: another service listens there: stop it first"


def test_a_job_that_cannot_be_planned_fails_with_its_stage(
    machine: Config, capsys: pytest.CaptureFixture[str], environment: Any
) -> None:
    publish(machine, environment())
    with running(machine):
        assert main(["trigger", "demo__drupal/main"]) == 0
        started = capsys.readouterr()
        job_id = started.out.strip()
        assert f"hostenv-provider jobs {job_id[:8]} --follow" in started.err
        assert main(["jobs", job_id[:8], "--follow"]) == 1
        shown = capsys.readouterr().out
        assert "failed: update_flake: " in shown
        assert main(["jobs", "--json"]) == 0
        (job,) = json.loads(capsys.readouterr().out)
        assert (job["jobId"], job["state"]) == (job_id, "failed")
        assert main(["trigger", "demo__drupal/main", "--json"]) == 0
        again = json.loads(capsys.readouterr().out)
        assert again["accepted"]
        assert again["jobId"] != job_id
        assert main(["rollback", "demo__drupal/main"]) == 1
        assert "has no release before" in capsys.readouterr().err
        assert main(["migrate", "demo__drupal/main", "--to", "node-z"]) == 1
        assert "node-z" in capsys.readouterr().err
        assert main(["migrate", "demo__drupal/main", "--to", "node-b", "--migration-source", "x=node-a"]) == 1
        assert "must begin with demo__drupal/main=" in capsys.readouterr().err


def test_kill_9_in_the_middle_of_a_job_only_delays_it(machine: Config, environment: Any) -> None:
    each = environment()
    publish(machine, each)
    TokenFile(machine).create(["node-a"])
    store = Store(machine.database)
    job_id = store.enqueue(Request("demo__drupal", None)).job_id
    assert store.take_next() is not None
    store.close()
    with running(machine) as process:
        # Nix is not there, so that the resumed job ends with a verdict instead of being lost.
        follow = main(["jobs", job_id, "--follow"])
        assert follow == 1
        status, job = ask(machine, "GET", f"/api/jobs/{job_id}")
        assert (status, job["state"]) == (200, "failed")
        process.send_signal(signal.SIGKILL)
        said = process.communicate(timeout=60)[1].splitlines()
    assert said[:2] == [f"job {job_id}: stage {stage}" for stage in ("sync_repository", "update_flake")]
    assert said[2].startswith(f"job {job_id}: failed in stage update_flake: ")
    assert machine.socket.exists()
    with running(machine):
        assert ask(machine, "GET", f"/api/jobs/{job_id}")[1]["state"] == "failed"


def test_what_was_running_is_queued_again_before_anything_else(machine: Config) -> None:
    store = Store(machine.database)
    job_id = store.enqueue(Request("demo__drupal", None)).job_id
    assert store.take_next() is not None
    service = Service(machine)
    recovered = store.job(job_id)
    store.close()
    service.start()
    service.stop()
    assert recovered is not None
    assert recovered.state is JobState.QUEUED


def test_a_stop_point_kills_the_service_at_its_stage_and_at_no_other(
    machine: Config, environment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(machine, environment())
    store = Store(machine.database)
    job_id = store.enqueue(Request("demo__drupal", None)).job_id
    store.close()
    monkeypatch.setenv(stop_point.VARIABLE, "update_flake")
    with running(machine) as process:
        assert process.wait(60) == -signal.SIGKILL
    store = Store(machine.database)
    stopped = store.job(job_id)
    store.close()
    assert stopped is not None
    assert (stopped.state, stopped.stage) == (JobState.RUNNING, "update_flake")
    # A stage that this job never gets to, because Nix is not there.
    monkeypatch.setenv(stop_point.VARIABLE, "generate_plan")
    with running(machine) as process:
        assert main(["jobs", job_id, "--follow"]) == 1
        assert process.poll() is None


def test_a_waiting_job_goes_on_after_kill_9_to_the_services_own_check(
    machine: Config, provider: Any, environment: Any
) -> None:
    each = environment()
    publish(machine, each)
    TokenFile(machine).create(["node-a"])
    EnvironmentSecrets(machine).ensure([each.user_name])
    sha = pushed(machine)
    provider.store = Store(machine.database)
    # Nothing answers at this address, so that the check goes on.
    job_id = provider.deploy(each, address="127.0.0.254", commit=sha)
    provider.store.close()
    event = {"node": "node-a", "status": "success", "phase": "activate", "actionIndex": 0}
    with running(machine) as process:
        assert ask(machine, "POST", f"/api/deploy-jobs/{job_id}/events", event, "node-a")[0] == 200
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    with running(machine):
        path = f"/api/deploy-jobs/{job_id}/actions?node=node-a&all=1"
        status, shown = ask(machine, "GET", path, node="node-a")
        assert status == 200
        assert shown["state"] == JobState.WAITING
        rows = {row["op"]: row["status"] for row in shown["actions"]}
        assert rows["activate"] == Status.SUCCESS
        assert rows["verify"] in (Status.QUEUED, Status.RUNNING)
        pending = ask(machine, "GET", f"/api/deploy-intents/pending?sha={sha}&node=node-a", node="node-a")[1]
        assert [intent["jobId"] for intent in pending["intents"]] == [job_id]


@pytest.mark.parametrize("errors", [0, 1])
def test_what_a_node_reports_as_activated_is_asked_by_the_service_itself(
    machine: Config, provider: Any, environment: Any, monkeypatch: pytest.MonkeyPatch, errors: int
) -> None:
    verifiable = Store.verifiable
    left = [sqlite3.OperationalError("database or disk is full")] * errors

    def failing_at_first(store: Store) -> list[Verification]:
        if left:
            raise left.pop()
        return verifiable(store)

    monkeypatch.setattr(Store, "verifiable", failing_at_first)
    monkeypatch.setattr("hostenv_provider.service._RETRY", 0.0)
    each = environment()
    provider.store = Store(machine.database)
    job_id = provider.deploy(each, address="192.0.2.7", commit=pushed(machine))
    provider.post(job_id, "node-a", "activate")
    provider.store.close()
    asked: SimpleQueue[tuple[str, str, str]] = SimpleQueue()

    def fetch(*question: str) -> Answer:
        asked.put(question)  # type: ignore[arg-type]
        return Answer(200, b"")

    service = Service(machine, fetch=fetch)
    service.start()
    try:
        assert asked.get(timeout=60) == ("192.0.2.7", each.hostname, "/")
    finally:
        service.stop()


def test_a_job_that_nobody_goes_on_with_is_ended_by_the_service(
    machine: Config, provider: Any, environment: Any
) -> None:
    path = machine.data_dir.parent / "provider.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "jobTimeout": 1}))
    provider.store = Store(machine.database, lambda: datetime(2020, 1, 1, tzinfo=UTC))
    job_id = provider.deploy(environment(), commit=pushed(machine))
    provider.store.close()
    with running(machine):
        status, job = ask(machine, "GET", f"/api/jobs/{job_id}?wait=30")
    assert (status, job["state"]) == (200, "failed")
    assert job["reason"].startswith("no progress for 0.0166667 min")


def pushed(config: Config) -> str:
    """A commit in the remote, as that of a waiting job."""
    repository = Repository(config)
    with repository.changing():
        sha = repository.commit("Deploy", allow_empty=True)
        repository.push(sha)
    return sha


def publish(config: Config, environment: Environment) -> None:
    """Put one environment into the published plan."""
    repository = Repository(config)
    with repository.changing():
        plan = repository.read_plan()
        repository.write_generated(
            replace(plan, environments={environment.user_name: environment}), repository.read_state()
        )
        repository.push(repository.commit("A project"))


def test_commands_need_the_service(machine: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"hostenv-provider: {machine.socket}: the service does not answer")


def test_tokens_on_the_command_line(machine: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["comin-tokens", "--dry-run"]) == 0
    assert capsys.readouterr().out == "would be made: node-a, node-b\n"
    assert not machine.tokens_file.exists()
    assert main(["comin-tokens", "--show", "node-a"]) == 1
    assert main(["comin-tokens"]) == 0
    assert main(["comin-tokens"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "made: none, every node has a token"
    assert main(["comin-tokens", "--show", "node-a"]) == 0
    first = capsys.readouterr().out.strip()
    assert first == json.loads(machine.tokens_file.read_text())["node-a"]
    assert main(["comin-tokens", "--rotate", "node-a", "--dry-run"]) == 0
    assert json.loads(machine.tokens_file.read_text())["node-a"] == first
    assert main(["comin-tokens", "--rotate", "node-a"]) == 0
    assert json.loads(machine.tokens_file.read_text())["node-a"] != first
    assert main(["comin-tokens", "--rotate", "node-z"]) == 1
    before = json.loads(machine.tokens_file.read_text())
    assert main(["comin-tokens", "--rotate-all", "--dry-run"]) == 0
    assert json.loads(machine.tokens_file.read_text()) == before
    capsys.readouterr()
    assert main(["comin-tokens", "--rotate-all"]) == 0
    assert capsys.readouterr().out == "replaced: node-a, node-b\n"
    after = json.loads(machine.tokens_file.read_text())
    assert not set(after.values()) & set(before.values())
    for node, token in before.items():
        assert TokenFile(machine).is_valid(node, token)
    with pytest.raises(SystemExit, match="2"):
        main(["comin-tokens", "--rotate", "node-a", "--show", "node-a"])


def test_the_tokens_of_a_node_that_is_gone_are_taken(
    machine: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["comin-tokens"]) == 0
    kept = TokenFile(machine).show("node-a")
    repository = Repository(machine)
    with repository.changing():
        settings = json.loads(repository.read_text("provider.json"))
        del settings["nodes"]["node-b"]
        repository.write_text("provider.json", json.dumps(settings))
        repository.push(repository.commit("node-b is gone"))
    capsys.readouterr()
    assert main(["comin-tokens", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "would be taken: node-b, no longer in provider.json"
    assert set(json.loads(machine.tokens_file.read_text())) == {"node-a", "node-b"}

    assert main(["comin-tokens"]) == 0

    assert json.loads(machine.tokens_file.read_text()) == {"node-a": kept}


def test_a_secret_comes_from_standard_input(
    machine: Config, environment: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(machine, environment())
    user = environment().user_name

    def give(value: bytes) -> int:
        reading, writing = os.pipe()
        os.write(writing, value)
        os.close(writing)
        with os.fdopen(reading) as stream:
            monkeypatch.setattr(sys, "stdin", stream)
            return main(["secrets", "set", "demo__drupal/main", "API_KEY"])

    assert give(b"correct horse\n") == 0
    assert "correct horse" not in "".join(capsys.readouterr())
    secrets = EnvironmentSecrets(machine).read(user)
    assert secrets is not None
    assert secrets["API_KEY"] == "correct horse"
    assert give(b"") == 1
    assert give(b"\xff\xfe") == 1
    assert main(["secrets", "set", "demo__drupal/none", "API_KEY"]) == 1
    assert (EnvironmentSecrets(machine).read(user) or {})["API_KEY"] == "correct horse"


def test_one_command_replaces_all_webhook_secrets_and_shows_them_once(
    machine: Config, environment: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(machine, environment())
    old = webhook_secrets.create(machine, "demo__drupal")
    webhook_secrets.leave_open(machine, "demo__open")
    assert main(["secrets", "rotate", "webhooks", "--dry-run"]) == 0
    assert capsys.readouterr().out == "demo__drupal: would be replaced\n"
    assert webhook_secrets.read(machine, "demo__drupal") == Secret(old)
    assert main(["secrets", "rotate", "webhooks"]) == 0
    name, webhook, shown = capsys.readouterr().out.splitlines()
    assert name == "demo__drupal: replaced"
    assert webhook.endswith(f"/webhook/{environment().project_name_hash}")
    secret = webhook_secrets.read(machine, "demo__drupal")
    assert secret == Secret(shown.rpartition(" ")[2], (old,))
    assert webhook_secrets.read(machine, "demo__open") == Secret(None)
