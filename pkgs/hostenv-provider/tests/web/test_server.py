"""HTTP over the socket: strange requests, slow clients, errors, the socket itself."""

import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hostenv_core.errors import HostenvError
from hostenv_provider.web.server import Server


def raw(api: Any, sent: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(api.config.socket))
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /health HTTP/9.9\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nBad Header\r\n\r\n", 200),
        (b"GET //[ HTTP/1.1\r\n\r\n", 404),
        (b"GET http://[/health HTTP/1.1\r\n\r\n", 400),
        (b"GET /%ff%00 HTTP/1.1\r\n\r\n", 404),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
        (b"BREW /health HTTP/1.1\r\n\r\n", 405),
        (b"HEAD /health HTTP/1.1\r\n\r\n", 405),
        (b"DELETE /api/jobs HTTP/1.1\r\n\r\n", 405),
        (b"POST /health HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405),
        (b"POST /api/jobs HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /api/jobs HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /api/jobs HTTP/1.1\r\nContent-Length: 9\r\n\r\n{}", 400),
        (b"POST /health HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", 400),
        (b"POST /health HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 2\r\n\r\n{}", 400),
        (b"POST /api/jobs HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
        (b"POST /api/jobs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /api/jobs HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1073741824\r\n\r\n", 413),
        (b"POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", 404),
        (b"GET /health?" + b"a=1&" * 200 + b" HTTP/1.1\r\n\r\n", 400),
    ],
)
def test_strange_requests_get_an_answer(api: Any, sent: bytes, status: int) -> None:
    received = raw(api, sent)
    assert received.split(b" ", 2)[1] == str(status).encode()
    assert b"Traceback" not in received


def test_a_body_is_asked_for_when_it_is_wanted(api: Any) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(api.config.socket))
        connection.sendall(b"POST /api/jobs HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_a_connection_serves_several_requests(api: Any) -> None:
    connection = api.connect()
    for _ in range(3):
        connection.request("GET", "/health")
        response = connection.getresponse()
        response.read()
        assert response.status == 200
    connection.close()


def test_slow_and_idle_clients_harm_nobody(api: Any) -> None:
    clients = []
    for number in range(200):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(api.config.socket))
        if number % 2:
            client.sendall(b"POST /api/jobs HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        clients.append(client)
    assert api.request("GET", "/health").status == 200
    for client in clients:
        client.close()


def test_a_failing_database_is_503_and_a_bug_500_without_details(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(api.store, "recent_jobs", full)
    answer = api.request("GET", "/api/jobs")
    assert answer.status == 503
    assert "disk is full" in answer.json["error"]

    def bug(*_: object) -> None:
        raise KeyError("secret detail")

    monkeypatch.setattr(api.store, "recent_jobs", bug)
    answer = api.request("GET", "/api/jobs")
    assert answer.status == 500
    assert "secret detail" not in answer.body.decode()


def test_the_socket_is_for_owner_and_group(api: Any) -> None:
    assert api.config.socket.stat().st_mode & 0o777 == 0o660


def test_a_second_service_does_not_take_the_socket(api: Any) -> None:
    with pytest.raises(HostenvError, match="another service"):
        Server(api.config.socket, lambda _: pytest.fail("not to be asked"))
    assert api.request("GET", "/health").status == 200


def test_a_socket_that_a_crash_left_is_replaced_but_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    server = Server(path, lambda _: pytest.fail("not to be asked"))
    server.server_close()
    assert not path.exists()
    path.write_text("precious")
    with pytest.raises(HostenvError, match="is not a socket"):
        Server(path, lambda _: pytest.fail("not to be asked"))
    assert path.read_text() == "precious"
