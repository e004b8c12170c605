"""Clients that are slow, idle or endless: whoever else asks is answered meanwhile."""

import contextlib
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

GIBIBYTE = 1024 * 1024 * 1024
CHUNK = b"x" * (1024 * 1024)
EVENTS = b"POST /api/deploy-jobs/x/events HTTP/1.1\r\nHost: x\r\n"


@contextlib.contextmanager
def clients(path: Path, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connected(path)) for _ in range(count)]


def connected(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(str(path))
    return client


def served(api: Any, job: str) -> None:
    """A node does all that it does for a job, and people look at it."""
    for _ in range(3):
        assert api.get(f"/api/deploy-jobs/{job}/actions?node=node-a&all=1").status == 200
        event = {"node": "node-a", "phase": "backup", "actionIndex": 0}
        assert api.post(f"/api/deploy-jobs/{job}/events", event).status == 200
        assert api.request("GET", "/health").status == 200
        assert api.request("GET", f"/api/jobs/{job}").status == 200


def test_two_hundred_idle_connections_delay_nobody(api: Any, job: str) -> None:
    with clients(api.config.socket, 200):
        served(api, job)
    served(api, job)


@pytest.mark.parametrize(
    "begun",
    [b"P", EVENTS, EVENTS + b"X-Slow: ", EVENTS + b"Content-Length: 1000\r\n\r\n{", EVENTS + b"\r\n"],
)
def test_clients_that_do_not_finish_delay_nobody(api: Any, job: str, begun: bytes) -> None:
    with clients(api.config.socket, 200) as slow:
        for client in slow:
            client.sendall(begun)
        served(api, job)
        # Each goes on a little, and still nobody waits for it.
        for client in slow:
            with contextlib.suppress(BrokenPipeError):
                client.sendall(b"x")
        served(api, job)


def test_clients_that_do_not_read_delay_nobody(api: Any, job: str) -> None:
    with clients(api.config.socket, 50) as deaf:
        for client in deaf:
            client.setblocking(False)
            # Until the server cannot send its answers and reads no more questions.
            with contextlib.suppress(BlockingIOError):
                for _ in range(2000):
                    client.send(b"GET /api/jobs HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
        served(api, job)


def stream(client: socket.socket, head: bytes, sent: list[int]) -> None:
    """Send a head and then 1 GiB, unless the receiver has enough of it."""
    client.sendall(head)
    for _ in range(GIBIBYTE // len(CHUNK)):
        try:
            client.sendall(CHUNK)
        except OSError:
            return
        sent.append(len(CHUNK))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (EVENTS + b"Content-Length: %d\r\n\r\n" % GIBIBYTE, b"413"),
        (b"POST /webhook/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % GIBIBYTE, b"413"),
        (EVENTS + b"Transfer-Encoding: chunked\r\n\r\n40000000\r\n", b"411"),
        (EVENTS + b"X-Endless: ", b"431"),
        (b"GET /", b"414"),
    ],
)
def test_a_gibibyte_is_refused_before_it_has_arrived(api: Any, job: str, head: bytes, status: bytes) -> None:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with connected(api.config.socket) as client:
        sent: list[int] = []
        sender = threading.Thread(target=stream, args=(client, head, sent))
        sender.start()
        served(api, job)
        sender.join(60)
        assert not sender.is_alive()
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := client.recv(65536):
                answer += chunk
    assert sum(sent) < 64 * len(CHUNK)
    # A client that goes on sending after it was refused may be cut off before it can read why.
    assert answer[9:12] in (status, b"")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < 64 * 1024
    served(api, job)
