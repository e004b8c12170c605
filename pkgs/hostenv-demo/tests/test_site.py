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
    """A front door: `mode` is `closed` (as 444), `frozen`, `open`, or `silent` until `leave`."""

    daemon_threads = True

    def __init__(self) -> None:
        self.leave = threading.Event()
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
        if self.server.mode == "silent":
            self.server.leave.wait(60)
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
        node.leave.set()
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
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("visitors-")]
    accepted = [each.note for each in seen if each.kind == "write" and each.outcome == "ok"]
    stored = {note.decode().removeprefix("note=").replace("+", " ") for note in nodes["node-a"].notes}
    assert stored == set(accepted)
    assert seen[0].outcome in ("ok", "refused")


def test_visitors_who_come_again_write_other_notes(nodes: dict[str, Node]) -> None:
    written, seen = threading.Event(), list[str | None]()

    def report(request: Request) -> None:
        if request.kind == "write":
            seen.append(request.note)
            written.set()

    visitors = Visitors(endpoints(nodes), report)
    for _ in range(2):
        written.clear()
        visitors.start()
        try:
            assert written.wait(30)
        finally:
            visitors.stop()
    assert len(seen) == len(set(seen)) > 1


def test_a_write_that_was_not_answered_in_time_is_not_repeated_elsewhere(
    nodes: dict[str, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostenv_demo.site._TIMEOUT", 0.2)
    nodes["node-a"].mode, nodes["node-b"].mode = "silent", "open"
    assert Site(endpoints(nodes)).request("POST", "/notes", b"note=once").node is None
    assert nodes["node-b"].notes == []
    assert Site(endpoints(nodes)).request("GET", "/").node == "node-b"


def test_a_browser_needs_one_address_only(nodes: dict[str, Node]) -> None:
    with Doorway(endpoints(nodes), lambda: True) as door:
        with pytest.raises(HTTPError) as nobody:
            urllib.request.urlopen(f"{door.url}/", timeout=30)
        assert nobody.value.code == 502
        assert "not deployed yet.</p>" in nobody.value.read().decode()
        nodes["node-b"].mode = "open"
        with urllib.request.urlopen(f"{door.url}/", timeout=30) as answer:
            assert MARKER in answer.read().decode()
            assert [len(answer.headers.get_all(name) or ()) for name in ("Server", "Date")] == [1, 1]
        with urllib.request.urlopen(f"{door.url}/notes", data=b"note=hello", timeout=30) as answer:
            assert answer.status == 201
    assert nodes["node-b"].notes == [b"note=hello"]
    assert nodes["node-b"].hosts == {VIRTUAL_HOST}


def test_two_doorways_do_not_fight_for_a_port(nodes: dict[str, Node]) -> None:
    with Doorway(endpoints(nodes), lambda: True) as one, Doorway(endpoints(nodes), lambda: True) as two:
        assert one.port != two.port


def test_before_the_machines_start_nobody_is_kept_waiting(nodes: dict[str, Node]) -> None:
    nodes["node-a"].mode = nodes["node-b"].mode = "silent"
    with Doorway(endpoints(nodes), lambda: False) as door, pytest.raises(HTTPError) as early:
        urllib.request.urlopen(f"{door.url}/", timeout=30)
    assert early.value.code == 503
    assert "have not started yet" in early.value.read().decode()
    assert nodes["node-a"].hosts == nodes["node-b"].hosts == set()


def test_a_browser_that_goes_away_is_no_news(
    nodes: dict[str, Node], capsys: pytest.CaptureFixture[str]
) -> None:
    with Doorway(endpoints(nodes), lambda: True) as door:
        for error in (BrokenPipeError(), ConnectionResetError(), TimeoutError()):
            try:
                raise error
            except OSError:
                door.server.handle_error(None, ("127.0.0.1", 1))
    assert capsys.readouterr().err == ""
