"""A node and an environment in temporary folders, and a provider that answers over HTTP on loopback."""

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hostenv_node.config import Application, Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment.entry import Environment, parse_environment
from hostenv_node.environment.layout import Layout
from hostenv_node.user.process import UserProcess
from node_support import C1, ENTRY, USER, Node, Provider, RecordedOperations, switch, tag_of
from runtime_support import TOOLS, Systemctl, Systemd, entry, mime_types, program


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

        def do_PUT(self) -> None:
            self._respond("PUT")

        def _respond(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, answer = played.answer(method, self.path, dict(self.headers), body)
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode() if answer else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if not isinstance(answer, bytes):
                self.send_header("ETag", tag_of(answer))
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
    monkeypatch.setattr("hostenv_node.comin.switch.ensure_users", lambda _config, _wanted: None)


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


@pytest.fixture
def config(configure: Callable[..., Config], tmp_path: Path) -> Config:
    (tmp_path / "state").mkdir()
    made = configure(tools={name: program(name, *candidates) for name, candidates in TOOLS.items()})
    web = tmp_path / "drupal" / "web"
    web.mkdir(parents=True)
    (web / "index.php").touch()
    applications = {"drupal": Application.at(tmp_path / "drupal")}
    return replace(made, applications=applications, mime_types=mime_types())


@pytest.fixture
def environment() -> Environment:
    return parse_environment(entry())


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    # Sockets have short names: a temporary folder's may be too long for them.
    return Layout(
        "drupal-main-2855093", 1002, "drupal", tmp_path / "home", tmp_path / "frozen", tmp_path / "r"
    )


@pytest.fixture
def played(tmp_path: Path, layout: Layout) -> Systemd:
    layout.home.mkdir()
    return Systemd(tmp_path)


@pytest.fixture
def changed() -> Callable[..., Any]:
    """The entry with one value replaced, by its path of keys."""

    def change(*path: str, to: object) -> dict[str, Any]:
        made = entry()
        inner = made
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to
        return made

    return change


@pytest.fixture
def manager(tmp_path: Path) -> Systemctl:
    folder = tmp_path / "manager"
    folder.mkdir()
    return Systemctl(folder)


@pytest.fixture
def process(manager: Systemctl, layout: Layout) -> UserProcess:
    layout.config_dir.mkdir(parents=True)
    return UserProcess(layout, {"systemctl": str(manager.program)}, Deadline.after(600))
