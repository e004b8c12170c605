"""An environment's own nginx, really running: the freeze holds for what the front door let in before."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from hostenv_node.config import Config
from hostenv_node.environment.entry import Environment
from hostenv_node.environment.layout import Layout
from hostenv_node.render.nginx import user_nginx
from runtime_support import needs

pytestmark = needs("nginx")

TYPES = {
    "of-nginx.css": "text/css",
    "of-nginx.webp": "image/webp",
    "ours.mjs": "text/javascript",
    "ours.webmanifest": "application/manifest+json",
    "nobodys.xyz": "application/octet-stream",
}


class Connection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("site", timeout=20)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(self.path))


@pytest.fixture
def site(
    config: Config, environment: Environment, layout: Layout, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Layout]:
    """A site of one page behind its socket."""
    made = replace(layout, run_dir=tmp_path_factory.mktemp("r"))
    for folder in (
        *(made.config_dir, made.cache_dir / "nginx", made.runtime_dir, made.upstream_dir),
        made.current / "public",
    ):
        folder.mkdir(parents=True)
    for name in ("page.txt", *TYPES):
        (made.current / "public" / name).write_text("a page")
    conf = made.config_dir / "nginx.conf"
    conf.write_text(user_nginx(environment, made, config, made.live))
    user = " user root;" if os.geteuid() == 0 else ""
    command = [config.tool("nginx"), "-e", "stderr", "-g", f"daemon off;{user}", "-c", str(conf)]
    process = subprocess.Popen(command)
    try:
        end = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < end:
            with suppress(OSError), closing(Connection(made.upstream_socket)) as connection:
                connection.connect()
                break
        yield made
    finally:
        process.terminate()
        process.wait(20)


def ask(site: Layout, method: str, name: str = "page.txt") -> HTTPResponse:
    with closing(Connection(site.upstream_socket)) as connection:
        connection.request(method, f"/{name}")
        response = connection.getresponse()
        response.read()
        return response


def test_a_frozen_site_is_read_and_not_written(site: Layout) -> None:
    assert ask(site, "GET").status == 200
    assert ask(site, "POST").status == 405
    site.freeze_file.touch()
    assert ask(site, "GET").status == 200
    refused = ask(site, "POST")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "30")
    site.freeze_file.unlink()
    assert ask(site, "POST").status == 405


def test_files_have_the_types_that_nginx_knows_and_ours(site: Layout) -> None:
    assert {name: ask(site, "GET", name).headers["Content-Type"] for name in TYPES} == TYPES
