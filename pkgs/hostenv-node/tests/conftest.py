"""A node in a temporary folder, and a provider that answers over HTTP on loopback."""

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hostenv_node.config import Config
from node_support import C1, ENTRY, USER, Node, Provider, RecordedOperations, switch


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    played = Provider(tmp_path / "slices")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            self._respond("GET")

        def do_POST(self) -> None:
            self._respond("POST")

        def _respond(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, answer = played.answer(method, self.path, dict(self.headers), body)
            content = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    played.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield played
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def operations() -> RecordedOperations:
    return RecordedOperations()


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., Config]:
    """Write a node.json in `tmp_path` and load it; a tool that is not given ends at once, with 0."""

    def write(
        node: str = "node-b", url: str = "http://127.0.0.1:9", tools: Mapping[str, str] | None = None
    ) -> Config:
        (tmp_path / "token").write_text("secret-token\n")
        path = tmp_path / "node.json"
        path.write_text(
            json.dumps(
                {
                    "node": node,
                    "apiBaseUrl": url,
                    "tokenFile": str(tmp_path / "token"),
                    "stateDir": str(tmp_path / "state"),
                    "frontDoorGroup": "www-data",
                    "cominProfile": str(tmp_path / "profile"),
                    "tools": {"comin": shutil.which("false"), "systemctl": shutil.which("true")}
                    | dict(tools or {}),
                }
            )
        )
        return Config.load(path, {})

    return write


@pytest.fixture
def generation(tmp_path: Path) -> Callable[..., Path]:
    """Make a toplevel as comin builds it and the slice to which it points; comin's profile points there."""

    def make(commit: str, node: str = "node-b", environments: Mapping[str, Any] | None = None) -> Path:
        toplevel = tmp_path / "store" / f"{'0' * 32}-hostenv-{node}-{commit}"
        toplevel.mkdir(parents=True)
        text = json.dumps({"node": node, "environments": environments or {}})
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        (toplevel / "slice.sha256").write_text(f"{sha256}\n")
        (tmp_path / "slices").mkdir(exist_ok=True)
        (tmp_path / "slices" / sha256).write_text(text)
        profile = tmp_path / "profile"
        profile.unlink(missing_ok=True)
        profile.symlink_to(toplevel)
        return toplevel

    return make


@pytest.fixture
def _no_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A switch makes no accounts on the machine that runs the tests."""
    monkeypatch.setattr("hostenv_node.switch.ensure_users", lambda _config, _wanted: None)


@pytest.fixture
def node(
    provider: Provider,
    operations: RecordedOperations,
    configure: Callable[..., Config],
    generation: Callable[..., Path],
    _no_accounts: None,
) -> Node:
    """`node-b` after its switch to a generation with one environment."""
    config = configure("node-b", provider.url)
    switch(config, generation(C1, environments={USER: ENTRY}))
    return Node(config, provider, operations)


@pytest.fixture
def synchronised(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files and folders that were flushed to the disk, in order."""
    names: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        names.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return names
