"""The demo project on the stand-in for Drupal and, with `--drupal DIR`, on Drupal: both answer alike.

A private MariaDB and PHP's own web server, on a Unix socket and on loopback.
"""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).resolve().parents[2]
STANDIN = ROOT / "pkgs/hostenv-lab/drupal_standin"
PROJECT = ROOT / "pkgs/hostenv-demo/project/web"
SEED = ROOT / "seed"
HELPERS = ROOT / "pkgs/hostenv-node/hostenv_node/render/templates"
START_LIMIT = 30

SETTINGS = """<?php
$databases['default']['default'] = [
  'driver' => 'mysql', 'namespace' => 'Drupal\\\\mysql\\\\Driver\\\\Database\\\\mysql',
  'autoload' => 'core/modules/mysql/src/Driver/Database/mysql/',
  'database' => '{database}', 'username' => 'root', 'password' => '', 'prefix' => '',
  'host' => 'localhost', 'unix_socket' => '{socket}', 'isolation_level' => 'READ COMMITTED',
];
$settings['hash_salt'] = 'salt';
$settings['config_sync_directory'] = '{sync}';
$settings['skip_permissions_hardening'] = TRUE;
"""


def wait_for(answer: Path | int, process: subprocess.Popen[bytes]) -> None:
    """Waits until a socket file or a loopback port takes connections, at most `START_LIMIT` seconds."""
    limit = time.monotonic() + START_LIMIT
    while time.monotonic() < limit:
        assert process.poll() is None, "the server ended while it was starting"
        family = socket.AF_UNIX if isinstance(answer, Path) else socket.AF_INET
        with socket.socket(family) as client:
            try:
                client.connect(str(answer) if isinstance(answer, Path) else ("127.0.0.1", answer))
            except OSError:
                time.sleep(0.05)
            else:
                return
    pytest.fail(f"nothing listens on {answer} after {START_LIMIT} s")


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a server for the length of a block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def database() -> Iterator[Path]:
    """The socket of an empty MariaDB, run by an unprivileged user."""
    for program in ("mariadbd", "mariadb-install-db", "mariadb", "php"):
        if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin") is None:
            pytest.skip(f"needs {program}")
    directory = Path(tempfile.mkdtemp(prefix="hostenv-site-"))
    directory.chmod(0o755)
    data, sock = directory / "data", directory / "sock"
    user = []
    if os.geteuid() == 0:
        user = ["--user=nobody"]
        shutil.chown(directory, "nobody")
    options = [*user, f"--datadir={data}"]
    try:
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", *options, "--auth-root-authentication-method=normal"],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )
        server = ["/usr/sbin/mariadbd", "--no-defaults", *options, f"--socket={sock}", "--skip-networking"]
        with running([*server, "--innodb-log-file-size=8M", f"--pid-file={directory}/pid"]) as process:
            wait_for(sock, process)
            yield sock
    finally:
        shutil.rmtree(directory)


def sql(sock: Path, statements: bytes, database: str = "") -> str:
    """Runs statements through the client, as a person would import a dump."""
    command = [
        "mariadb",
        "--no-defaults",
        "--batch",
        "--skip-column-names",
        f"--socket={sock}",
        "-u",
        "root",
        database,
    ]
    done = subprocess.run(command, input=statements, capture_output=True, check=True, timeout=120)
    return done.stdout.decode()


@pytest.fixture(scope="module", params=["stand-in", "drupal"])
def release(request: pytest.FixtureRequest, database: Path) -> Iterator[tuple[Path, str]]:
    """An assembled and installed site: its document root and its database's name."""
    source, docroot = STANDIN, Path()
    if request.param == "drupal":
        given = request.config.getoption("drupal", None)
        if given is None:
            pytest.skip("needs --drupal DIR")
        source = Path(given)
        docroot = Path() if (source / "core/lib/Drupal.php").is_file() else Path("web")
    name = request.param.replace("-", "")
    directory = Path(tempfile.mkdtemp(prefix="hostenv-site-"))
    try:
        shutil.copytree(source, directory / "site", symlinks=True)
        root = directory / "site" / docroot
        shutil.copytree(PROJECT, root, dirs_exist_ok=True)
        shutil.copytree(SEED / "files", root / "sites/default/files", dirs_exist_ok=True)
        (directory / "sync").mkdir()
        settings = SETTINGS.replace("{database}", name).replace("{socket}", str(database))
        (root / "sites/default/settings.php").write_text(settings.replace("{sync}", str(directory / "sync")))
        sql(database, f"CREATE DATABASE {name}".encode())
        done = helper("install_drupal.php", root, "hostenv_demo", "drupal-main-2855093.demo.hostenv.test")
        assert done.returncode == 0, done.stdout + done.stderr
        yield root, name
    finally:
        shutil.rmtree(directory)


def helper(name: str, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs one of the node's own PHP helpers on a document root."""
    command = ["php", "-d", "memory_limit=512M", str(HELPERS / name), str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


@pytest.fixture(scope="module")
def site(release: tuple[Path, str]) -> Iterator[str]:
    """The site's URL."""
    root, _ = release
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with running(["php", "-S", f"127.0.0.1:{port}", "-t", str(root)]) as process:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def seeded(site: str, database: Path, release: tuple[Path, str]) -> str:
    """The URL of the site with the seed in its database."""
    sql(database, gzip.decompress((SEED / "seed.sql.gz").read_bytes()), release[1])
    return site


def get(url: str) -> requests.Response:
    return requests.get(url, timeout=60)


def test_without_the_seed_the_page_says_so(site: str) -> None:
    page = get(f"{site}/")
    assert page.status_code == 200
    assert "hostenv demo" in page.text
    assert "the seed is not imported yet" in page.text
    assert requests.post(f"{site}/notes", data={"note": "x"}, timeout=60).status_code == 503


def test_the_page_shows_the_imported_seed_at_once(
    site: str, database: Path, release: tuple[Path, str]
) -> None:
    dump = gzip.decompress((SEED / "seed.sql.gz").read_bytes())
    sql(database, dump, release[1])
    sql(database, dump, release[1])
    page = get(f"{site}/")
    assert page.status_code == 200
    assert "<strong>from-node-a</strong>" in page.text
    assert "Héberger, déplacer, retrouver" in page.text
    assert "&lt;b&gt;markup&lt;/b&gt; &amp; entities" in page.text
    sql(database, b"UPDATE hostenv_demo_marker SET note = 'changed'", release[1])
    assert "<strong>changed</strong>" in get(f"{site}/").text
    sql(database, dump, release[1])


def test_the_pictures_of_the_page_are_the_public_files(seeded: str) -> None:
    page = get(f"{seeded}/").text
    sources = [part.split('"')[0] for part in page.split('<img src="')[1:]]
    assert len(sources) == 3
    answers = {get(f"{seeded}{source}").content for source in sources}
    assert answers == {path.read_bytes() for path in (SEED / "files/articles").iterdir()}


def test_a_posted_note_is_stored_and_counted(seeded: str, database: Path, release: tuple[Path, str]) -> None:
    answer = requests.post(f"{seeded}/notes", data={"note": " naïve 'note' "}, timeout=60)
    assert answer.status_code == 201
    stored = sql(
        database, f"SELECT note FROM hostenv_demo_note WHERE id = {answer.json()['id']}".encode(), release[1]
    )
    assert stored == "naïve 'note'\n"
    assert "Notes: 1" in get(f"{seeded}/").text


@pytest.mark.parametrize("form", [{}, {"note": "  "}, {"note": "x" * 256}, {"note[]": "x"}])
def test_a_bad_note_is_refused(seeded: str, form: dict[str, str]) -> None:
    answer = requests.post(f"{seeded}/notes", data=form, timeout=60)
    assert answer.status_code == 400
    assert "note" in answer.json()["error"]


def test_other_methods_and_paths_are_refused(seeded: str) -> None:
    assert requests.put(f"{seeded}/notes", timeout=60).status_code in (405, 403)
    assert get(f"{seeded}/elsewhere").status_code == 404


def test_the_stand_in_says_what_it_is(site: str, release: tuple[Path, str]) -> None:
    says = "not by Drupal" in get(f"{site}/").text
    assert says == (release[1] == "standin")


def test_the_page_survives_a_rebuild_of_the_caches(seeded: str, release: tuple[Path, str]) -> None:
    done = helper("rebuild_drupal.php", release[0])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "from-node-a" in get(f"{seeded}/").text


def test_a_second_installation_is_refused_and_changes_nothing(seeded: str, release: tuple[Path, str]) -> None:
    done = helper("install_drupal.php", release[0], "hostenv_demo", "elsewhere.example.org")
    assert done.returncode == 1
    assert "Drupal is not installed: " in done.stderr
    assert "from-node-a" in get(f"{seeded}/").text
