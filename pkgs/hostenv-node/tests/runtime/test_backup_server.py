"""The question to the backup server, put to a real HTTP server."""

import base64
import http.server
import threading
from collections.abc import Iterator

import pytest
from hostenv_node.errors import OperationFailed
from hostenv_node.jobs.api import Unreachable
from hostenv_node.runtime.backup_server import demand_answer

ACCOUNT = "Basic " + base64.b64encode(b"u:secret").decode()


class Server(http.server.ThreadingHTTPServer):
    """Answers with each of `statuses` in turn, the last one for ever."""

    def __init__(self) -> None:
        self.statuses = [200]
        self.asked: list[tuple[str, str | None]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def secrets(self) -> dict[str, str]:
        return {
            "backupUrl": f"rest:http://127.0.0.1:{self.server_port}/backups/u/",
            "backupUser": "u",
            "backupPassword": "secret",
        }


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))
        statuses = self.server.statuses
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [200, 404])
def test_a_server_that_knows_about_the_repository_is_enough(server: Server, status: int) -> None:
    server.statuses = [status]
    assert demand_answer(server.secrets) is (status == 200)
    assert server.asked == [("/backups/u/config", ACCOUNT)]


def test_one_that_is_about_to_start_is_asked_again(server: Server) -> None:
    pauses: list[float] = []
    server.statuses = [502, 401, 200]
    demand_answer(server.secrets, pauses.append)
    assert len(server.asked) == 3
    assert pauses == sorted(pauses)


@pytest.mark.parametrize(("status", "said"), [(502, "status 502"), (401, "status 401")])
def test_one_that_gives_no_repository_fails_the_operation(server: Server, status: int, said: str) -> None:
    server.statuses = [status]
    with pytest.raises(OperationFailed, match=f"{said}.*hostenv-backups.service"):
        demand_answer(server.secrets, lambda _: None)


def test_a_provider_that_is_away_interrupts_the_operation(server: Server) -> None:
    secrets = {**server.secrets, "backupUrl": "rest:http://127.0.0.1:1/backups/u/"}
    with pytest.raises(Unreachable, match="cannot be reached"):
        demand_answer(secrets, lambda _: None)
