"""Visitors and the doorway, on real HTTP servers in place of the nodes' front doors."""

import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError

import pytest
from hostenv_demo.doorway import Doorway
from hostenv_demo.evidence import Request
from hostenv_demo.names import MARKER, VIRTUAL_HOST
from hostenv_demo.site import Answer, Site
from hostenv_demo.visitors import Visitors, outcome


class Node(ThreadingHTTPServer):
    """A front door: `mode` is `closed` (as 444), `frozen` or `open`."""

    daemon_threads = True

    def __init__(self) -> None:
        self.mode = "closed"
        self.notes: list[bytes] = []
        self.hosts: set[str] = set()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Node

    def do_GET(self) -> None:
        self.answer(200, f"<p>{MARKER}</p>".encode())

    def do_POST(self) -> None:
        note = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.mode == "open":
            self.server.notes.append(note)
        self.answer(201 if self.server.mode == "open" else 503, b"{}")

    def answer(self, status: int, body: bytes) -> None:
        self.server.hosts.add(self.headers["Host"])
        if self.server.mode == "closed":
            self.close_connection = True
            return
        self.send_response(status)
        if status == 503:
            self.send_header("Retry-After", "5")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def nodes() -> Iterator[dict[str, Node]]:
    made = {name: Node() for name in ("node-a", "node-b")}
    threads = [threading.Thread(target=node.serve_forever) for node in made.values()]
    for thread in threads:
        thread.start()
    yield made
    for node in made.values():
        node.shutdown()
        node.server_close()
    for thread in threads:
        thread.join()


def endpoints(nodes: dict[str, Node]) -> dict[str, str]:
    return {name: node.url for name, node in nodes.items()}


def test_a_visitor_follows_the_site_from_node_to_node(nodes: dict[str, Node]) -> None:
    site = Site(endpoints(nodes))
    assert site.request("GET", "/").node is None
    nodes["node-a"].mode = "open"
    assert site.request("GET", "/").node == "node-a"
    nodes["node-b"].mode = "open"
    assert site.request("GET", "/").node == "node-a"
    nodes["node-a"].mode = "closed"
    assert [site.request("GET", "/").node for _ in range(2)] == ["node-b", "node-b"]
    assert nodes["node-b"].hosts == {VIRTUAL_HOST}


@pytest.mark.parametrize(
    ("kind", "answer", "expected"),
    [
        ("read", Answer("node-a", 200, (), MARKER.encode()), "ok"),
        ("read", Answer("node-a", 200, (), b"another page"), "failed"),
        ("read", Answer("node-a", 502, (), b""), "failed"),
        ("write", Answer("node-a", 201, (), b""), "ok"),
        ("write", Answer("node-a", 200, (), b""), "failed"),
        ("write", Answer("node-a", 503, (("retry-after", "5"),), b""), "refused"),
        ("write", Answer("node-a", 503, (), b""), "failed"),
        ("write", Answer(None, 0, (), b""), "unanswered"),
    ],
)
def test_only_the_right_answer_counts(kind: str, answer: Answer, expected: str) -> None:
    assert outcome("read" if kind == "read" else "write", answer) == expected


def test_visitors_report_every_request_and_every_accepted_note_is_there(nodes: dict[str, Node]) -> None:
    enough, seen = threading.Event(), list[Request]()

    def report(request: Request) -> None:
        seen.append(request)
        if request.outcome == "refused":
            nodes["node-a"].mode = "open"
        if sum(each.outcome == "ok" for each in seen if each.kind == "write") >= 3:
            enough.set()

    nodes["node-a"].mode = "frozen"
    visitors = Visitors(endpoints(nodes), report)
    visitors.start()
    try:
        assert enough.wait(30)
    finally:
        visitors.stop()
    count = len(seen)
    accepted = [each.note for each in seen if each.kind == "write" and each.outcome == "ok"]
    stored = {note.decode().removeprefix("note=").replace("+", " ") for note in nodes["node-a"].notes}
    assert stored == set(accepted)
    assert seen[0].outcome in ("ok", "refused")
    assert len(seen) == count
    assert threading.active_count() == len(threading.enumerate())


def test_a_browser_needs_one_address_only(nodes: dict[str, Node]) -> None:
    with Doorway(endpoints(nodes)) as door:
        with pytest.raises(HTTPError) as nobody:
            urllib.request.urlopen(f"{door.url}/", timeout=30)
        assert nobody.value.code == 502
        nodes["node-b"].mode = "open"
        with urllib.request.urlopen(f"{door.url}/", timeout=30) as answer:
            assert MARKER in answer.read().decode()
        with urllib.request.urlopen(f"{door.url}/notes", data=b"note=hello", timeout=30) as answer:
            assert answer.status == 201
    assert nodes["node-b"].notes == [b"note=hello"]
    assert nodes["node-b"].hosts == {VIRTUAL_HOST}


def test_two_doorways_do_not_fight_for_a_port(nodes: dict[str, Node]) -> None:
    with Doorway(endpoints(nodes)) as one, Doorway(endpoints(nodes)) as two:
        assert one.port != two.port
