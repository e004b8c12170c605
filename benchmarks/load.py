#!/usr/bin/env python3
"""How many nodes one provider carries: simulated nodes poll and post against the real service on its socket.

Every node goes on without a pause: it asks for pending intents and for its job's actions, and posts two
events. After the time is up the service is killed with `kill -9`, and the last acknowledged event of each
kind, which takes the place of those before, is looked for in its database. Beside it stand the commits that
SQLite alone makes in the same folder, one row and one `fsync` each.
Example: ./benchmarks/load.py --nodes 500
"""

import argparse
import contextlib
import http.client
import json
import os
import pwd
import re
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "pkgs" / name) for name in ("hostenv-core", "hostenv-provider")]

from hostenv_core.intents import Action  # noqa: E402
from hostenv_core.web import UnixConnection  # noqa: E402
from hostenv_provider.config import PATH_VARIABLE, Config  # noqa: E402
from hostenv_provider.plan.settings import ProviderSettings  # noqa: E402
from hostenv_provider.repository.repository import Repository  # noqa: E402
from hostenv_provider.rules.jobs import Request  # noqa: E402
from hostenv_provider.rules.stored import NodeCommit, Prepared  # noqa: E402
from hostenv_provider.secrets.tokens import TokenFile  # noqa: E402
from hostenv_provider.store.store import Store  # noqa: E402

NODES_OF_A_JOB = 10
SERVICE = "import sys; from hostenv_provider.cli import main; sys.exit(main(['service']))"


@dataclass
class Node:
    """One simulated node and what it measured, in seconds."""

    name: str
    token: str
    job: str
    polls: list[float] = field(default_factory=list)
    posts: list[float] = field(default_factory=list)
    acknowledged: dict[str, int] = field(default_factory=dict)
    problem: str | None = None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--dir", type=Path, help="where the database is written (a new folder below it)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hostenv-load-", dir=options.dir) as folder:
        config = configure(Path(folder))
        commit = bootstrap(config)
        nodes = enroll(config, commit, options.nodes)
        raw = raw_commits(Path(folder) / "before.sqlite3", options.seconds / 4)
        with service(config) as process:
            before = memory(process.pid)
            elapsed = run(config, commit, nodes, options.seconds)
            after = memory(process.pid)
            os.kill(process.pid, signal.SIGKILL)
        # A disk that others use too is not as fast all the time.
        raw = sorted(raw + raw_commits(Path(folder) / "after.sqlite3", options.seconds / 4))
        found = recorded(config)
        lost = sum(
            found.get((node.name, status), -1) < number
            for node in nodes
            for status, number in node.acknowledged.items()
        )
    problems = [f"{node.name}: {node.problem}" for node in nodes if node.problem]
    posts = sorted(second for node in nodes for second in node.posts)
    polls = sorted(second for node in nodes for second in node.polls)
    if problems or not posts:
        print("\n".join(problems) or "no event was posted", file=sys.stderr)
        return 1
    print(f"| {len(nodes)} nodes, {elapsed:.0f} s, {os.cpu_count()} CPUs | service | SQLite alone |")
    print("|---|---|---|")
    print(f"| durable events (commits) a second | {len(posts) / elapsed:.0f} | {len(raw) / sum(raw):.0f} |")
    print(f"| median, milliseconds | {median(posts)} | {median(raw)} |")
    print(f"| 99th percentile, milliseconds | {percentile(posts)} | {percentile(raw)} |")
    print(f"| polls a second | {len(polls) / elapsed:.0f} | |")
    print(f"| 99th percentile of polls, milliseconds | {percentile(polls)} | |")
    print(f"| memory before and at most, MiB | {before[0]} and {after[1]} | |")
    print(f"| acknowledged events lost by kill -9 | {lost} | |")
    return 1 if lost else 0


def configure(folder: Path) -> Config:
    """The machine's configuration of a provider in `folder`."""
    document = {
        "dataDir": str(folder / "data"),
        "socket": str(folder / "provider.sock"),
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "publicUrl": "http://provider",
        "tools": {"git": shutil.which("git"), "nix": "/nonexistent"},
    }
    path = folder / "provider.json"
    path.write_text(json.dumps(document))
    os.environ[PATH_VARIABLE] = str(path)
    return Config.load()


def bootstrap(config: Config) -> str:
    """A provider repository; returns its commit."""
    config.data_dir.mkdir()
    settings = {
        "hostenvHostname": "demo.hostenv.test",
        "nodeFor": {"default": "node-0"},
        "nodes": {"node-0": {"address": "127.0.0.1"}},
    }
    repository = Repository(config)
    with repository.locked():
        return repository.create(ProviderSettings.parse(settings, config.public_url))


def enroll(config: Config, commit: str, count: int) -> list[Node]:
    """Nodes with tokens, and jobs that wait for ten of them each."""
    names = [f"node-{number}" for number in range(count)]
    tokens = TokenFile(config)
    tokens.create(names)
    store = Store(config.database)
    nodes = []
    for start in range(0, count, NODES_OF_A_JOB):
        members = names[start : start + NODES_OF_A_JOB]
        job = store.enqueue(Request(f"demo__site{start}", refs=None)).job_id
        store.take_next()
        actions = {
            name: [Action("deactivate", f"site{start}-main-{number:07x}", name, None)]
            for number, name in enumerate(members)
        }
        commits = dict.fromkeys(actions, NodeCommit(commit, "{}"))
        store.start_waiting(job, Prepared(commit, actions, [], [], commits))
        nodes += [Node(name, tokens.show(name), job) for name in members]
    store.close()
    return nodes


@contextlib.contextmanager
def service(config: Config) -> Iterator["subprocess.Popen[str]"]:
    """The service as a process of its own, once it answers."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout is not None
        if "listening" not in process.stdout.readline():
            raise SystemExit(f"the service did not start on {config.socket}")
        yield process
    finally:
        process.kill()
        process.wait()


def run(config: Config, commit: str, nodes: list[Node], seconds: float) -> float:
    """Let all nodes work at once; returns the seconds that they worked."""
    gate = threading.Barrier(len(nodes) + 1)
    ended = threading.Event()
    threading.stack_size(512 * 1024)
    threads = [
        threading.Thread(target=work, args=(config, commit, node, gate, ended), daemon=True) for node in nodes
    ]
    for thread in threads:
        thread.start()
    gate.wait()
    began = time.monotonic()
    ended.wait(seconds)
    ended.set()
    for thread in threads:
        thread.join()
    return time.monotonic() - began


def work(config: Config, commit: str, node: Node, gate: threading.Barrier, ended: threading.Event) -> None:
    """One node: polls and posts over one connection until the time is up."""
    headers = {"Authorization": f"Bearer {node.token}"}
    event = {"node": node.name, "status": "running", "phase": "deactivate", "actionIndex": 0}
    pending = f"/api/deploy-intents/pending?sha={commit}&node={node.name}"
    actions = f"/api/deploy-jobs/{node.job}/actions?node={node.name}&all=1"
    gate.wait()
    connection = UnixConnection(config.socket, 120)
    try:
        while not ended.is_set():
            for path in (pending, actions):
                node.polls.append(timed(connection, "GET", path, headers, None))
            for status in ("waiting", "running"):
                number = len(node.posts)
                body = json.dumps({**event, "status": status, "message": str(number)}).encode()
                path = f"/api/deploy-jobs/{node.job}/events"
                node.posts.append(timed(connection, "POST", path, headers, body))
                node.acknowledged[status] = number
    except (OSError, http.client.HTTPException) as error:
        node.problem = repr(error)
    finally:
        connection.close()


def timed(
    connection: UnixConnection, method: str, path: str, headers: dict[str, str], body: bytes | None
) -> float:
    """Seconds of one request. Raises HTTPException unless it is answered 200."""
    began = time.monotonic()
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise http.client.HTTPException(f"{method} {path}: {answer.status} {content[:200]!r}")
    return time.monotonic() - began


def recorded(config: Config) -> dict[tuple[str, str], int]:
    """The number of the event that the database holds of each node and status."""
    with contextlib.closing(sqlite3.connect(config.database)) as connection:
        rows = connection.execute("SELECT node, status, message FROM events WHERE message IS NOT NULL")
        return {(node, status): int(message) for node, status, message in rows}


def raw_commits(path: Path, seconds: float) -> list[float]:
    """Seconds of each commit that SQLite makes alone, with the service's settings."""
    times: list[float] = []
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, message TEXT)")
        ends = time.monotonic() + seconds
        while (began := time.monotonic()) < ends:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO events (message) VALUES (?)", ("x" * 100,))
            connection.execute("COMMIT")
            times.append(time.monotonic() - began)
    return times


def memory(pid: int) -> tuple[int, int]:
    """Resident memory of a process now and at most, MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    now, most = (int(found) // 1024 for found in re.findall(r"(?m)^Vm(?:RSS|HWM):\s+(\d+)", status)[::-1])
    return now, most


def median(times: list[float]) -> str:
    return f"{1000 * statistics.median(times):.1f}"


def percentile(times: list[float]) -> str:
    """Of sorted times, the one that 99 of 100 do not exceed."""
    return f"{1000 * times[min(len(times) - 1, len(times) * 99 // 100)]:.1f}"


if __name__ == "__main__":
    sys.exit(main())
