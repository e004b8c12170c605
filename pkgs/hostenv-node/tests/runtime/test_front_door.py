"""The system nginx with our server blocks, really running on loopback."""

import os
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPConnection, HTTPResponse, RemoteDisconnected
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment.entry import Environment
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.render.nginx import PROBE_PATH
from hostenv_node.runtime import frontdoor
from hostenv_node.runtime.frontdoor import FrontDoor, answers
from runtime_support import HOST, USER, needs

FRONT_DOOR = Path(__file__).parents[2] / "nginx/front-door.conf"

pytestmark = [needs("nginx"), pytest.mark.usefixtures("upstream")]


LARGE = 256 << 20
_STALLED = threading.Event()


class Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        if self.path == "/large":
            self.end_headers()
            self._send_large()
            return
        if self.path == "/elsewhere":
            self.send_header("X-Accel-Redirect", PROBE_PATH)
        self.end_headers()
        marks = self.headers.get_all("X-Hostenv-Public", [])
        self.wfile.write(f"{self.command} {self.headers['Host']} {marks}".encode())

    def _send_large(self) -> None:
        self.connection.settimeout(5)
        try:
            for _ in range(LARGE >> 20):
                self.wfile.write(bytes(1 << 20))
        except TimeoutError:
            _STALLED.set()
        except OSError:
            pass

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def short_layout(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return replace(layout, run_dir=tmp_path_factory.mktemp("r"))


@pytest.fixture
def upstream(short_layout: Layout) -> Iterator[None]:
    short_layout.upstream_dir.mkdir(parents=True)
    with socketserver.ThreadingUnixStreamServer(str(short_layout.upstream_socket), Site) as server:
        os.chmod(short_layout.upstream_socket, 0o666)
        for directory in (short_layout.run_dir, short_layout.upstream_dir.parent, short_layout.upstream_dir):
            os.chmod(directory, 0o755)
        os.chmod(short_layout.run_dir.parent, 0o755)
        os.chmod(short_layout.run_dir.parent.parent, 0o755)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.fixture
def served(config: Config, tmp_path: Path) -> Iterator[FrontDoor]:
    """A front door of one environment's node, with nobody in it yet; `systemctl` signals this nginx."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    conf = tmp_path / "nginx.conf"
    included = FRONT_DOOR.read_text().replace("/var/lib/hostenv/nginx", str(config.nginx_dir))
    user = "user root;" if os.geteuid() == 0 else ""
    conf.write_text(
        f"{user} daemon off; worker_processes 1; pid {tmp_path}/nginx.pid; error_log stderr;\n"
        f"events {{}} http {{ access_log off; client_body_temp_path {tmp_path}/body;\n"
        f"proxy_temp_path {tmp_path}/proxy; {included}\n}}\n"
    )
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\nkill -HUP "$(cat {tmp_path}/nginx.pid)"\n')
    systemctl.chmod(0o755)
    made = replace(config, front_door_port=port, tools={**config.tools, "systemctl": str(systemctl)})
    front_door = FrontDoor(made, conf)
    front_door.write({})
    process = subprocess.Popen([config.tool("nginx"), "-e", "stderr", "-c", str(conf)])
    try:
        end = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < end:
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
        yield front_door
    finally:
        process.terminate()
        process.wait(20)


def ask(
    front_door: FrontDoor,
    method: str,
    host: str = HOST,
    headers: Mapping[str, str] | None = None,
    path: str = "/",
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", front_door.config.front_door_port, timeout=20)
    connection.request(
        method,
        path,
        headers={"Host": host, **(headers or {})},
        body=b"x" if method in ("POST", "PUT") else None,
    )
    response = connection.getresponse()
    return response, response.read()


def test_an_environment_comes_and_goes(
    served: FrontDoor, environment: Environment, short_layout: Layout
) -> None:
    assert not answers(served.config.front_door_port, HOST)
    served.serve(environment, short_layout, Deadline.after(30))
    assert ask(served, "GET", f"{HOST}:8080")[1].startswith(f"GET {HOST}:8080 ".encode())
    assert ask(served, "GET", "demo.hostenv.local")[0].status == 200
    with pytest.raises(RemoteDisconnected):
        ask(served, "GET", "stranger.example")
    served.withdraw(USER, HOST, Deadline.after(30))
    with pytest.raises(RemoteDisconnected):
        ask(served, "GET")


def test_withdrawing_is_no_success_while_anybody_is_served(
    served: FrontDoor,
    environment: Environment,
    short_layout: Layout,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served.serve(environment, short_layout, Deadline.after(30))
    (tmp_path / "systemctl").write_text("#!/bin/sh\n# an nginx that goes on as before\n")
    monkeypatch.setattr(frontdoor, "_PROBE_SECONDS", 0.5)
    with pytest.raises(OperationFailed, match=f"{HOST} is still served"):
        served.withdraw(USER, HOST, Deadline.after(30))


def test_an_application_does_not_say_where_the_front_door_looks(
    served: FrontDoor, environment: Environment, short_layout: Layout
) -> None:
    served.serve(environment, short_layout, Deadline.after(30))
    response, body = ask(served, "GET", path="/elsewhere")
    assert (response.status, body.split()[0]) == (200, b"GET")


def test_an_answer_that_nobody_takes_does_not_fill_the_disk(
    served: FrontDoor, environment: Environment, short_layout: Layout
) -> None:
    served.serve(environment, short_layout, Deadline.after(30))
    _STALLED.clear()
    with socket.create_connection(("127.0.0.1", served.config.front_door_port)) as connection:
        connection.sendall(f"GET /large HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        # The site's own server keeps what does not go on, in its own home.
        assert _STALLED.wait(120)


def test_the_freeze_is_in_force_with_its_file(
    served: FrontDoor, environment: Environment, short_layout: Layout
) -> None:
    served.serve(environment, short_layout, Deadline.after(30))
    assert ask(served, "POST")[0].status == 200
    short_layout.freeze_file.write_text("job-1\n")
    for method in ("POST", "PUT", "DELETE"):
        response, _ = ask(served, method)
        assert (response.status, response.headers["Retry-After"]) == (503, "30")
    for method in ("GET", "HEAD"):
        assert ask(served, method)[0].status == 200
    short_layout.freeze_file.unlink()
    assert ask(served, "POST")[0].status == 200


def test_a_file_that_nginx_refuses_is_taken_back(
    served: FrontDoor, environment: Environment, short_layout: Layout
) -> None:
    served.serve(environment, short_layout, Deadline.after(30))
    path = served.config.nginx_dir / f"{USER}.conf"
    good = path.read_text()
    bad = replace(environment, virtual_hosts=("a.example", "a.example; nonsense"))
    with pytest.raises(OperationFailed, match="nonsense"):
        served.serve(bad, short_layout, Deadline.after(30))
    assert path.read_text() == good
    assert ask(served, "GET")[0].status == 200


def test_what_no_record_names_is_not_served_after_a_boot(served: FrontDoor) -> None:
    (served.config.nginx_dir / "gone-main-0000000.conf").write_text("server {}\n")
    served.write({USER: "# there\n"})
    assert {path.name for path in served.config.nginx_dir.iterdir()} == {f"{USER}.conf", "default.conf"}


def test_what_a_link_in_the_sockets_place_leads_to_sees_that_it_is_asked_from_the_network(
    served: FrontDoor, environment: Environment, short_layout: Layout
) -> None:
    service = short_layout.run_dir / "other.sock"
    short_layout.upstream_socket.rename(service)
    short_layout.upstream_socket.symlink_to(service)
    served.serve(environment, short_layout, Deadline.after(30))
    for claimed in ({}, {"X-Hostenv-Public": ""}, {"X-Hostenv-Public": "0"}):
        assert ask(served, "GET", headers=claimed)[1] == f"GET {HOST} ['1']".encode()


def test_what_boots_waits_for_no_reload(config: Config, tmp_path: Path) -> None:
    # systemd reloads nginx only once the unit that boots has ended.
    systemctl = tmp_path / "waiting-systemctl"
    systemctl.write_text('#!/bin/sh\ncase " $* " in *" --no-block "*) exit 0 ;; esac\nexit 1\n')
    systemctl.chmod(0o755)
    FrontDoor(replace(config, tools={**config.tools, "systemctl": str(systemctl)})).reload_if_running()
