"""What the network sees of the provider: the shipped nginx configuration in front of real programs."""

import base64
import hashlib
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hostenv_provider.config import Config
from hostenv_provider.plan.plan import Environment
from hostenv_provider.plan.settings import ProviderSettings
from hostenv_provider.repository.node_repositories import NodeRepositories
from hostenv_provider.repository.repository import Repository
from hostenv_provider.secrets import webhook_secrets

GIT = shutil.which("git") or "git"
PACKAGE = Path(__file__).parents[2]
CONFIGURATION = PACKAGE / "nginx" / "provider.conf"
# What Debian machines of the lab have; tests/nix compares it with the NixOS module.
MAIN = PACKAGE.parent / "hostenv-demo/machines/files/all/etc/nginx/nginx.conf"
BACKUPS = PACKAGE / "systemd" / "hostenv-backups.service"

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
needs_fcgiwrap = pytest.mark.skipif(shutil.which("fcgiwrap") is None, reason="fcgiwrap is not installed")
needs_rest_server = pytest.mark.skipif(
    shutil.which("restic-rest-server") is None, reason="restic-rest-server is not installed"
)


@pytest.fixture
def restic_program() -> str:
    return shutil.which("restic") or "restic"


@pytest.fixture
def config(config: Config) -> Config:
    return replace(config, backup_quota=16 << 20)


@dataclass
class Front:
    """nginx on a port of loopback."""

    port: int
    folder: Path
    api: Any

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def git(
        self, *arguments: str, node: str = "node-a", token: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        account = base64.b64encode(f"{node}:{token or self.api.tokens.show(node)}".encode()).decode()
        return subprocess.run(
            [GIT, "-c", f"http.extraHeader=Authorization: Basic {account}", *arguments],
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_GLOBAL": "/dev/null"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def url(self, repository: str) -> str:
        return f"http://127.0.0.1:{self.port}/git/{repository}.git"


@contextmanager
def process(*command: str) -> Iterator[None]:
    started = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield
    finally:
        # fcgiwrap does not end the processes that it made.
        os.killpg(started.pid, signal.SIGTERM)
        started.wait(60)


def backend() -> str:
    """Git's CGI program."""
    folder = subprocess.run([GIT, "--exec-path"], check=True, capture_output=True, text=True).stdout.strip()
    return f"{folder}/git-http-backend"


def wait_for(connect: Callable[[], None]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            connect()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def wait_for_socket(path: Path) -> None:
    def connect() -> None:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))

    wait_for(connect)


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many open files as nginx asks for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def front(many_files: None, api: Any, tmp_path: Path) -> Iterator[Front]:  # noqa: ARG001
    folder = tmp_path / "front"
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = CONFIGURATION.read_text()
    for shipped, ours in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("listen [::]:80;", ""),
        ("/run/hostenv-provider/hostenv-provider.sock", str(api.config.socket)),
        ("/run/hostenv-git.sock", str(folder / "git.sock")),
        ("/run/hostenv-backups/repositories.sock", str(folder / "repositories.sock")),
        ("/var/lib/hostenv-provider/git", str(api.config.git_dir)),
        ("/usr/lib/git-core/git-http-backend", backend()),
    ):
        assert shipped in text
        text = text.replace(shipped, ours)
    (folder / "provider.conf").write_text(text)
    main = folder / "nginx.conf"
    main.write_text(main_configuration(folder, "provider.conf"))
    with process("nginx", "-c", str(main)):
        wait_for(lambda: socket.create_connection(("127.0.0.1", port)).close())
        yield Front(port, folder, api)


def main_configuration(folder: Path, include: str) -> str:
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    found = re.search(r"^events \{.*?^\}", MAIN.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    events = found[0]
    return (
        f"{user}daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
        f"{events}\nhttp {{\n{temporary}access_log off;\ninclude {include};\n}}\n"
    )


def test_the_shipped_configuration_is_valid(tmp_path: Path) -> None:
    main = tmp_path / "nginx.conf"
    main.write_text(main_configuration(tmp_path, str(CONFIGURATION)).replace("daemon off;", ""))
    tested = subprocess.run(
        ["nginx", "-t", "-c", str(main)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "syntax is ok" in tested.stderr, tested.stderr


def test_webhooks_come_through_and_the_sockets_own_routes_do_not(front: Front, environment: Any) -> None:
    status, body = front.request("POST", f"/webhook/{environment().project_name_hash}", b"{}")
    assert status == 202
    assert json.loads(body)["accepted"] is True
    for path in (
        "/api/jobs",
        "/api/../api/jobs",
        "/api//jobs",
        "/api/%6aobs",
        "/api/git-access",
        "/internal/git-access",
        "/health",
        "/",
    ):
        for headers in ({}, {"X-Hostenv-Public": ""}, {"x_hostenv_public": "0"}):
            status, body = front.request("GET", path, headers=headers)
            assert status == 404, path
    assert front.request("POST", "/api/jobs", b'{"environment": "demo__drupal/main"}')[0] == 404
    assert front.request("POST", "/webhook/../api/jobs", b'{"environment": "demo__drupal/main"}')[0] == 404


def test_a_nodes_api_comes_through(front: Front) -> None:
    path = f"/api/deploy-intents/pending?sha={'0' * 40}&node=node-a"
    token = front.api.tokens.show("node-a")
    status, body = front.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    assert (status, json.loads(body)) == (200, {"node": "node-a", "intents": []})
    assert front.request("GET", path) == (403, b"")


def test_a_large_body_is_refused_in_json(front: Front) -> None:
    for path, size in (("/api/deploy-jobs/x/events", 1), (f"/webhook/{'0' * 64}", 25)):
        status, body = front.request("POST", path, b"x" * (size * 1024 * 1024 + 1))
        assert status == 413
        assert json.loads(body)["error"]


def test_a_delivery_of_25_mebibytes_comes_through(front: Front, environment: Any) -> None:
    body = b'{"ref": "refs/heads/main"}'.ljust(25 * 1024 * 1024)
    status, answer = front.request("POST", f"/webhook/{environment().project_name_hash}", body)
    assert (status, json.loads(answer)["accepted"]) == (202, True)
    # Whoever may not start jobs is told so, however much was sent.
    assert front.request("POST", f"/webhook/{'0' * 64}", body)[0] == 401


def test_half_open_connections_from_one_address_are_not_the_end(front: Front, environment: Any) -> None:
    with ExitStack() as opened:
        clients = []
        for _ in range(1000):
            client = opened.enter_context(socket.create_connection(("127.0.0.1", front.port), timeout=60))
            client.sendall(b"POST /webhook/x HTTP/1.1\r\nHost:")
            clients.append(client)
        path = f"/webhook/{environment().project_name_hash}"
        assert front.request("POST", path, b"{}")[0] == 202
        # None was closed to make room for another: the next one's might have been a Git host's.
        for client in clients:
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(1)
        # Nor do they stay.
        clients[0].settimeout(60)
        assert clients[0].recv(1) == b""


def test_one_address_does_not_take_all_that_webhooks_have(front: Front, environment: Any) -> None:
    head = b"POST /webhook/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    path = f"/webhook/{environment().project_name_hash}"
    with ExitStack() as opened:
        for _ in range(64):
            slow = opened.enter_context(socket.create_connection(("127.0.0.1", front.port)))
            slow.sendall(head)
        refused = eventually(lambda: front.request("POST", path, b"{}"), lambda answer: answer[0] == 429)
        assert json.loads(refused[1])["error"]
        token = front.api.tokens.show("node-a")
        pending = f"/api/deploy-intents/pending?sha={'0' * 40}&node=node-a"
        assert front.request("GET", pending, headers={"Authorization": f"Bearer {token}"})[0] == 200
    eventually(lambda: front.request("POST", path, b"{}"), lambda answer: answer[0] == 202)


def test_what_has_no_valid_token_holds_nothing_that_the_nodes_need(front: Front) -> None:
    job = "00000000-0000-0000-0000-000000000000"
    account = base64.b64encode(b"node-a:wrong").decode()
    heads = [
        f"POST /api/deploy-jobs/{job}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\n",
        f"POST /api/deploy-jobs/{job}/events HTTP/1.1\r\nHost: x\r\n",
        "POST /git/nodes/node-a.git/git-upload-pack HTTP/1.1\r\nHost: x\r\n",
        f"POST /backups/shop/data/x HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {account}\r\n",
    ]
    with ExitStack() as opened:
        clients = []
        for number in range(1000):
            client = opened.enter_context(socket.create_connection(("127.0.0.1", front.port), timeout=60))
            client.sendall(heads[number % len(heads)].encode() + b"Content-Length: 60000\r\n\r\n{")
            clients.append(client)
        for client in clients:
            assert client.recv(100).split()[1] in (b"401", b"403", b"429")
        bearer = {"Authorization": f"Bearer {front.api.tokens.show('node-a')}"}
        pending = f"/api/deploy-intents/pending?sha={'0' * 40}&node=node-a"
        assert front.request("GET", pending, headers=bearer)[0] == 200


def eventually(look: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    """What `look` finds once it is what is wanted."""
    deadline = time.monotonic() + 60
    while not wanted(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def test_a_service_that_is_down_is_told_in_json(front: Front) -> None:
    front.api.config.socket.unlink()
    status, body = front.request("GET", "/api/deploy-intents/pending")
    assert status == 503
    assert json.loads(body)["error"]
    status, body = front.request("GET", "/git/provider.git/info/refs?service=git-upload-pack")
    assert status == 503


@pytest.fixture
def repositories(front: Front, environment: Callable[..., Environment]) -> Iterator[Repository]:
    """provider.git, the nodes' own and two projects, of which node-a hosts one."""
    config = front.api.config
    repository = Repository(config)
    settings = {
        "hostenvHostname": "demo.hostenv.test",
        "nodeFor": {"default": "node-a"},
        "nodes": {"node-a": {"address": "192.0.2.1"}, "node-b": {"address": "192.0.2.2"}},
    }
    nodes = NodeRepositories(repository)
    with repository.locked():
        head = repository.create(ProviderSettings.parse(settings, "http://provider"))
        for node in nodes.nodes(head):
            assert nodes.advance(node, nodes.commit(node, head).sha)
    for name in ("demo__drupal", "demo__shop"):
        repository.make_bare(config.git_dir / f"{name}.git")
        repository.git("push", "--quiet", str(config.git_dir / f"{name}.git"), "HEAD:refs/heads/main")
    here = environment()
    front.api.provider.finish(front.api.provider.deploy(here), [here], "node-a")
    listening = front.folder / "git.sock"
    with process(shutil.which("fcgiwrap") or "", "-f", "-c", "2", "-p", backend(), "-s", f"unix:{listening}"):
        wait_for_socket(listening)
        yield repository


@needs_fcgiwrap
def test_a_node_clones_what_it_may_read_and_writes_nothing(
    front: Front, repositories: Repository, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    own = front.url("nodes/node-a")
    cloned = front.git("clone", "--quiet", own, str(clone))
    assert cloned.returncode == 0, cloned.stderr
    assert [path.name for path in clone.glob("generated/nodes/*")] == ["node-a"]
    assert front.git("ls-remote", front.url("demo__drupal")).returncode == 0
    for version in ("0", "2"):
        assert front.git("-c", f"protocol.version={version}", "ls-remote", own).returncode == 0
    nodes = NodeRepositories(repositories)
    head = nodes.head("node-a")
    commit = [
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@localhost",
        "commit",
        "--allow-empty",
        "--quiet",
        "-m",
        "x",
    ]
    subprocess.run([GIT, "-C", str(clone), *commit], check=True)
    pushed = front.git("-C", str(clone), "push", "origin", "HEAD:main")
    assert pushed.returncode != 0
    assert "403" in pushed.stderr
    assert nodes.head("node-a") == head


@needs_fcgiwrap
def test_nothing_of_what_a_node_fetches_is_anothers_by_whatever_name_it_asks(
    front: Front, repositories: Repository, tmp_path: Path
) -> None:
    nodes = NodeRepositories(repositories)
    subprocess.run([GIT, "init", "--quiet", "--bare", str(tmp_path / "own")], check=True)
    fetch = ("-C", str(tmp_path / "own"), "-c", "protocol.version=2", "fetch", "--quiet")
    foreign = repositories.git("rev-list", "--objects", "--all").text.split()
    for sha in (nodes.head("node-b") or "", *(each for each in foreign if len(each) == 40)):
        asked = front.git(*fetch, front.url("nodes/node-a"), f"{sha}:refs/asked/{sha}")
        assert asked.returncode == 0 or "not our ref" in asked.stderr, asked.stderr
    assert front.git(*fetch, front.url("nodes/node-a"), "+refs/*:refs/all/*").returncode == 0
    listing = subprocess.run(
        [GIT, "-C", str(tmp_path / "own"), "cat-file", "--batch-all-objects", "--batch"],
        check=True,
        capture_output=True,
    ).stdout
    assert b"node-a" in listing
    assert b"node-b" not in listing
    assert b"plan.json" not in listing.replace(b"provider.json and generated/plan.json", b"")


@needs_fcgiwrap
def test_a_node_that_follows_the_provider_does_so_until_it_fetched_its_own(
    front: Front, repositories: Repository
) -> None:
    assert repositories.published_head()
    front.api.store.begin_following(["node-a"])
    assert front.git("ls-remote", front.url("provider")).returncode == 0
    assert "403" in front.git("ls-remote", front.url("provider"), node="node-b").stderr
    assert front.git("ls-remote", front.url("nodes/node-a")).returncode == 0
    assert "403" in front.git("ls-remote", front.url("provider")).stderr


@needs_fcgiwrap
def test_slow_readers_of_a_large_pack_do_not_take_git_from_others(
    front: Front, repositories: Repository
) -> None:
    # More than all buffers between the two ends hold.
    (repositories.work_tree / "large").write_bytes(os.urandom(10 * 1024 * 1024))
    nodes = NodeRepositories(repositories)
    with repositories.locked():
        head = nodes.commit("node-a", repositories.commit("A large file")).sha
        nodes.advance("node-a", head)
    account = base64.b64encode(f"node-a:{front.api.tokens.show('node-a')}".encode()).decode()
    body = f"0032want {head}\n00000009done\n".encode()
    request = (
        "POST /git/nodes/node-a.git/git-upload-pack HTTP/1.0\r\nHost: x\r\n"
        f"Authorization: Basic {account}\r\nContent-Type: application/x-git-upload-pack-request\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    with ExitStack() as opened:
        for _ in range(8):
            slow = opened.enter_context(socket.socket())
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.settimeout(60)
            slow.connect(("127.0.0.1", front.port))
            slow.sendall(request + body)
            assert b" 200 OK" in slow.recv(100)
        # There are two processes, and neither is held.
        assert front.git("ls-remote", front.url("nodes/node-b"), node="node-b").returncode == 0
        # One token has no more than its part, and its node says so.
        assert "429" in front.git("ls-remote", front.url("nodes/node-a")).stderr


@needs_fcgiwrap
@pytest.mark.parametrize(
    ("repository", "node", "token", "said"),
    [
        ("demo__shop", "node-a", None, "403"),
        ("demo__drupal", "node-b", None, "403"),
        ("provider", "node-a", None, "403"),
        ("nodes/node-b", "node-a", None, "403"),
        ("nodes/node-a", "node-a", "wrong", "Authentication failed"),
        ("nodes/nobody", "nobody", "x", "Authentication failed"),
    ],
)
@pytest.mark.usefixtures("repositories")
def test_a_node_does_not_read_what_is_not_its_own(
    front: Front, repository: str, node: str, token: str | None, said: str
) -> None:
    refused = front.git("ls-remote", front.url(repository), node=node, token=token)
    assert refused.returncode != 0
    assert said in refused.stderr or "could not read Username" in refused.stderr


@needs_fcgiwrap
@pytest.mark.usefixtures("repositories")
def test_git_serves_no_other_paths(front: Front) -> None:
    account = base64.b64encode(f"node-a:{front.api.tokens.show('node-a')}".encode()).decode()
    headers = {"Authorization": f"Basic {account}"}
    for path in (
        "/git/",
        "/git/provider.git/HEAD",
        "/git/nodes/node-a.git/HEAD",
        "/git/nodes/node-a.git/config",
        "/git/nodes/node-a.git/objects/info/packs",
        "/git/nodes/node-a.git/../node-b.git/info/refs?service=git-upload-pack",
        "/git/nodes/node-a.git/info/refs?service=git-receive-pack",
        "/git/nodes/node-b.git/info/refs?service=git-upload-pack",
        "/git/nodes//node-a.git/info/refs?service=git-upload-pack",
        "/git/provider.git/objects/info/packs",
        "/git/provider.git/config",
        "/git/demo__drupal.git/../demo__shop.git/info/refs?service=git-upload-pack",
        "/git/provider.git/info/refs?service=git-receive-pack",
        "/git//provider.git/info/refs?service=git-upload-pack",
    ):
        assert front.request("GET", path, headers=headers) == (403, b""), path
    for path in ("/git/provider.git/git-receive-pack", "/git/demo__shop.git/git-upload-pack"):
        assert front.request("POST", path, b"0000", headers) == (403, b""), path


@pytest.fixture
def backups(front: Front) -> Iterator[Front]:
    """With the backup server behind it."""
    command = next(line for line in BACKUPS.read_text().splitlines() if line.startswith("ExecStart="))
    for shipped, ours in (
        ("ExecStart=/usr/bin/restic-rest-server", shutil.which("restic-rest-server") or ""),
        ("/run/hostenv-backups/repositories.sock", str(front.folder / "repositories.sock")),
        ("/var/lib/hostenv-provider/backups", str(front.api.config.backups_dir)),
    ):
        assert shipped in command
        command = command.replace(shipped, ours)
    front.api.config.backups_dir.mkdir(parents=True)
    with process(*command.split()):
        wait_for_socket(front.folder / "repositories.sock")
        yield front


def account_of(front: Front, node: str, user: str) -> dict[str, str]:
    """What the node is given for the environment's backups."""
    answer = front.api.get(f"/api/environments/{user}/secrets?node={node}", node)
    assert answer.status == 200, answer.body
    return dict(answer.json["secrets"])


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


def restic(front: Front, secrets: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run restic as a node does."""
    environment = {
        "PATH": os.environ["PATH"],
        "RESTIC_REPOSITORY": secrets["backupUrl"].replace(
            "http://provider", f"http://127.0.0.1:{front.port}"
        ),
        "RESTIC_REST_USERNAME": secrets["backupUser"],
        "RESTIC_REST_PASSWORD": secrets["backupPassword"],
        "RESTIC_PASSWORD": secrets["resticPassword"],
    }
    command = ["restic", "--no-cache", "--json", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)


@needs_rest_server
@pytest.mark.usefixtures("job")
def test_each_environment_has_a_backup_repository_of_its_own_that_only_grows(
    backups: Front, environment: Callable[..., Environment]
) -> None:
    user, other = environment().user_name, environment("staging").user_name
    found = account_of(backups, "node-a", user)
    headers = basic("node-a", found["backupPassword"])
    name = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    path = f"/backups/{user}/data/{name}"
    assert backups.request("POST", path, b"hello")[0] == 401
    assert backups.request("POST", path, b"hello", basic("node-b", found["backupPassword"]))[0] == 401
    assert backups.request("POST", path, b"hello", headers)[0] == 200
    assert backups.request("GET", path, headers=headers) == (200, b"hello")
    pack = bytes(2 << 20)
    large = f"/backups/{user}/data/{hashlib.sha256(pack).hexdigest()}"
    assert backups.request("POST", large, pack, headers)[0] == 200
    assert backups.request("GET", f"/backups/{other}/data/{name}", headers=headers)[0] == 401
    for method, elsewhere in (
        ("DELETE", path),
        ("POST", f"/backups/{user}/?create=true"),
        ("POST", f"/backups/{user}/config"),
        ("POST", f"/backups/{user}/keys/{name}"),
        ("POST", f"/backups/{user}/more/data/{name}"),
        ("GET", f"/backups/{user}/../{other}/config"),
        ("GET", f"/backups//{user}/config"),
        ("GET", f"/backups/{user}/%63onfig"),
    ):
        assert backups.request(method, elsewhere, b"", headers)[0] == 403, elsewhere
    assert backups.request("GET", path, headers=headers) == (200, b"hello")


@needs_rest_server
def test_a_former_node_has_no_account_and_no_key_from_the_commit_point_on(
    backups: Front, job: str, environment: Callable[..., Environment], tmp_path: Path
) -> None:
    user, provider = environment().user_name, backups.api.provider
    keys = backups.api.config.backups_dir / user / "keys"
    (tmp_path / "file").write_text("of the site")
    source = account_of(backups, "node-a", user)
    assert len(list(keys.iterdir())) == 3, "the provider's, and those of source and target before the freeze"
    saved = restic(backups, source, "backup", "--tag", "drupal-migrate", str(tmp_path / "file"))
    assert saved.returncode == 0, saved.stderr
    provider.post(job, "node-a", "backup")

    target = account_of(backups, "node-b", user)
    assert {target[key] for key in ("backupPassword", "resticPassword")}.isdisjoint(source.values())
    restored = restic(backups, target, "restore", "latest", "--target", str(tmp_path / "restored"))
    assert restored.returncode == 0, restored.stderr
    assert list((tmp_path / "restored").rglob("file"))
    assert restic(backups, target, "backup", str(tmp_path / "file")).returncode != 0, "it only restores yet"
    provider.post(job, "node-b", "restore")
    provider.post(job, "node-b", "activate")
    # An exclusive lock, as a node that was taken over may leave it.
    lock = hashlib.sha256(b"x").hexdigest()
    path = f"/backups/{user}/locks/{lock}"
    assert backups.request("POST", path, b"x", basic("node-a", source["backupPassword"]))[0] == 200

    provider.verify(job, user)

    for method, about in (("GET", "config"), ("POST", f"data/{lock}"), ("POST", f"locks/{lock}")):
        status = backups.request(
            method, f"/backups/{user}/{about}", b"", basic("node-a", source["backupPassword"])
        )[0]
        assert status in (401, 403), about
    assert backups.api.get(f"/api/environments/{user}/secrets?node=node-a", "node-a").status == 403
    target = account_of(backups, "node-b", user)
    assert len(list(keys.iterdir())) == 2
    assert not (keys.parent / "locks" / lock).exists()
    # Also with an account that is good, the former node's key opens nothing.
    assert (
        restic(backups, {**target, "resticPassword": source["resticPassword"]}, "snapshots").returncode != 0
    )
    assert restic(backups, target, "backup", str(tmp_path / "file")).returncode == 0


@needs_rest_server
def test_backups_end_at_their_quota_and_restores_go_on(
    backups: Front, job: str, environment: Callable[..., Environment], tmp_path: Path
) -> None:
    user, provider = environment().user_name, backups.api.provider
    source, target = (account_of(backups, node, user) for node in ("node-a", "node-b"))
    (tmp_path / "file").write_text("of the site")
    assert restic(backups, source, "backup", str(tmp_path / "file")).returncode == 0
    (tmp_path / "large").write_bytes(os.urandom(20 << 20))

    refused = restic(backups, source, "backup", str(tmp_path / "large"))

    assert refused.returncode != 0
    assert "(403)" in refused.stderr
    assert "retrying" not in refused.stderr, "a source would be frozen all the while"
    kept = backups.api.config.backups_dir / user
    assert sum(path.stat().st_size for path in kept.rglob("*") if path.is_file()) <= 16 << 20
    restored = restic(backups, target, "restore", "latest", "--target", str(tmp_path / "restored"))
    assert restored.returncode == 0, restored.stderr
    assert list((tmp_path / "restored").rglob("file"))
    # What does not say how long it is could be of any length.
    connection = http.client.HTTPConnection("127.0.0.1", backups.port, timeout=60)
    path = f"/backups/{user}/locks/{hashlib.sha256(b'x').hexdigest()}"
    connection.request("POST", path, iter([b"x"]), basic("node-a", source["backupPassword"]))
    assert connection.getresponse().status == 403
    connection.close()
    connection = http.client.HTTPConnection("127.0.0.1", backups.port, timeout=60)
    connection.putrequest("POST", path)
    connection.putheader("Content-Length", str(1 << 30))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    index = next(each.row.index for each in provider.store.actions(job) if each.row.action.op == "backup")
    said = {"phase": "backup", "status": "failed", "actionIndex": index, "message": "Fatal: 403 Forbidden"}
    assert backups.api.post(f"/api/deploy-jobs/{job}/events", {"node": "node-a", **said}).status == 200
    assert (
        f"the backups of {user} have used up their quota of 16 MiB: prune them on the provider, or raise"
        " backupQuota (Fatal: 403 Forbidden)"
    ) in (provider.reason(job) or "")


@needs_rest_server
@pytest.mark.usefixtures("job")
def test_what_an_earlier_version_gave_to_all_nodes_ends_when_the_node_gets_its_own(
    backups: Front, environment: Callable[..., Environment], tmp_path: Path
) -> None:
    config, user = backups.api.config, environment().user_name
    shared = {
        "backupUrl": f"rest:http://provider/backups/{user}/",
        "backupUser": user,
        "backupPassword": "1" * 64,
        "resticPassword": "2" * 64,
        "hashSalt": "3" * 64,
    }
    (config.secrets_dir / f"{user}.json").write_text(json.dumps({**shared, "API_KEY": "own"}))
    made = subprocess.run(
        ["restic", "--no-cache", "init", "--repo", str(config.backups_dir / user)],
        env={"PATH": os.environ["PATH"], "RESTIC_PASSWORD": shared["resticPassword"]},
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    (tmp_path / "file").write_text("of the site")
    assert restic(backups, shared, "backup", str(tmp_path / "file")).returncode == 0

    own = account_of(backups, "node-a", user)

    assert own["hashSalt"] == shared["hashSalt"]
    assert own["API_KEY"] == "own"
    assert len(json.loads(restic(backups, own, "snapshots").stdout)) == 1
    assert restic(backups, own, "backup", str(tmp_path / "file")).returncode == 0
    assert restic(backups, shared, "snapshots").returncode != 0
    assert restic(backups, {**own, "resticPassword": shared["resticPassword"]}, "snapshots").returncode != 0
    left = json.loads((config.secrets_dir / f"{user}.json").read_text())
    assert left == {"API_KEY": "own", "hashSalt": shared["hashSalt"]}


def test_webhooks_of_closed_projects_need_their_secret(front: Front, environment: Any) -> None:
    secret = webhook_secrets.create(front.api.config, "demo__drupal")
    path = f"/webhook/{environment().project_name_hash}"
    assert front.request("POST", path, b"{}")[0] == 401
    assert front.request("POST", path, b"{}", {"X-Gitlab-Token": secret})[0] == 202
