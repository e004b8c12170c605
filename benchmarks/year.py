#!/usr/bin/env python3
"""Whether a provider stays as small as it is: a year of a push a minute, and the housekeeper at its hours.

The database is the service's own, with its indexes and durable commits, and so is the housekeeper; a clock
that both ask tells the year. A job of each kind goes through the store as in the service. All others are
copies of its rows, with names, nodes and times of their own, written without waiting for the disk.

The Git repositories get some pushes of real commits, and Git collects them as it does in the service. What
that says of a year is a product, and marked so: the history of a repository is never cut.

Example: ./benchmarks/year.py --jobs 500000
"""

import argparse
import contextlib
import io
import json
import os
import pwd
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "pkgs" / name) for name in ("hostenv-core", "hostenv-provider")]

from hostenv_core.states import Status  # noqa: E402
from hostenv_provider.config import PATH_VARIABLE, Config  # noqa: E402
from hostenv_provider.disks.parts import Parts  # noqa: E402
from hostenv_provider.plan.definitions import Application, VirtualHost  # noqa: E402
from hostenv_provider.plan.plan import Environment, Plan, Source, State  # noqa: E402
from hostenv_provider.plan.settings import ProviderSettings  # noqa: E402
from hostenv_provider.repository.node_repositories import NodeRepositories  # noqa: E402
from hostenv_provider.repository.repository import Repository  # noqa: E402
from hostenv_provider.rules.intents import derive_actions, verify_actions  # noqa: E402
from hostenv_provider.rules.jobs import Event, Request  # noqa: E402
from hostenv_provider.rules.retention import Retention  # noqa: E402
from hostenv_provider.rules.stored import Delivery, NodeCommit, Prepared, Target  # noqa: E402
from hostenv_provider.store.node_commits import insert_slice  # noqa: E402
from hostenv_provider.store.store import Store  # noqa: E402
from hostenv_provider.store.writing import time_text  # noqa: E402
from hostenv_provider.work.housekeeping import Housekeeper  # noqa: E402

YEAR = timedelta(days=365)
SHOWN = {1: 30, 3: 91, 6: 182, 12: 365}
"""The days after which the months that are shown end."""

DELIVERY = "delivery-of-"
RETENTION = Retention(jobs=90, deliveries=30)
MIB = 1 << 20


@dataclass
class Clock:
    """The year's time."""

    now: datetime = field(default_factory=lambda: datetime(2026, 1, 1, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()


@dataclass(frozen=True)
class Kind:
    """What the store wrote for a job, or for two of which one took the other's place.

    `rows` is JSON: for each row an INSERT and its values, of which times are places in `times`, how long each
    was after the start.
    """

    rows: str
    times: tuple[timedelta, ...]
    ids: tuple[str, ...]


def environment(project: str, node: str, rev: str) -> Environment:
    """An environment as planned."""
    return Environment(
        organisation="demo",
        project=project,
        name="main",
        enable=True,
        type="production",
        node=node,
        previous_node=None,
        uid=1002,
        migrations=("drupal-migrate",),
        application=Application("php", "web"),
        virtual_hosts={f"www.{project}.example.org": VirtualHost()},
        users={},
        checks=(),
        source=Source(f"git+https://git.example.org/{project}.git", "main", rev, "sha256-" + "A" * 43 + "="),
        hostenv_hostname="sites.example.org",
        backups_repo_host="http://provider/backups",
    )


class Pattern:
    """Jobs of one project on two nodes, through the real store."""

    PROJECT, SOURCE, TARGET = "pattern", "node-source", "node-target"

    def __init__(self, path: Path) -> None:
        self._clock = Clock()
        self._path = path
        self._store = Store(path, self._clock)
        self._revisions = 0

    def kinds(self) -> dict[str, Kind]:
        """The rows of each kind of job."""
        self._deploy(self.SOURCE)
        found = {
            "reload": self._kind(lambda: [self._deploy(self.SOURCE)]),
            "failed": self._kind(lambda: [self._deploy(self.SOURCE, fails=True)]),
            "superseded": self._kind(self._supersede),
            "move": self._kind(lambda: [self._deploy(self.TARGET)]),
        }
        self._store.close()
        return found

    def _supersede(self) -> list[str]:
        older = self._enqueue()
        return [older, self._deploy(self.SOURCE)]

    def _enqueue(self) -> str:
        request = Request(f"demo__{self.PROJECT}", refs=("refs/heads/main",))
        delivery = Delivery("a" * 64, str(uuid.uuid4()))
        return self._store.enqueue(request, delivery).job_id

    def _deploy(self, node: str, *, fails: bool = False) -> str:
        """From the push to the end."""
        store, job = self._store, self._enqueue()
        store.take_next()
        self._revisions += 1
        planned = environment(self.PROJECT, node, f"{self._revisions:040x}")
        before = store.deployed(planned.project_key)
        actions = derive_actions(
            before, {planned.user_name: planned}, store.stale(planned.project_key), {}, frozenset()
        )
        checks = verify_actions(actions)
        commits = {each: NodeCommit("0" * 40, "{}") for each in actions}
        store.start_waiting(
            job, Prepared("f" * 40, actions, checks, [Target("192.0.2.1", planned) for _ in checks], commits)
        )
        store.mark_pushed(job)
        for op in ("backup", "restore", "activate", "reload", "deactivate"):
            for row in (record.row for record in store.actions(job) if record.row.action.op == op):
                self._clock.now += timedelta(seconds=5)
                store.record_event(job, Event(row.node, Status.RUNNING, op, None, None, row.index))
                if fails:
                    error = "nginx: configuration file test failed: " + "x" * 500
                    store.record_event(job, Event(row.node, Status.FAILED, op, error, None, row.index))
                    return job
                snapshots = dict.fromkeys(row.action.migrations, "9f0c" * 16)
                payload = {"user": row.action.user, "sourceNode": row.node, "snapshots": snapshots}
                done = payload if op == "backup" else None
                store.record_event(job, Event(row.node, Status.SUCCESS, op, None, done, row.index))
            for check in store.verifiable():
                store.start_verification(job, check.user)
                store.record_verification(job, check.user, Status.SUCCESS, None)
        for each in actions:
            store.record_event(job, Event(each, Status.SUCCESS, "intent"))
        state = store.snapshot(job).state
        if state != "succeeded":
            raise SystemExit(f"the pattern's job is {state}")
        return job

    def _kind(self, run: Callable[[], list[str]]) -> Kind:
        self._clock.now += timedelta(hours=1)
        start = self._clock.now
        ids = run()
        rows = []
        times: list[timedelta] = []
        with contextlib.closing(sqlite3.connect(self._path)) as db:
            for table in ("jobs", "intents", "actions", "targets", "events", "deployed", "deliveries"):
                names = [str(row[1]) for row in db.execute(f"PRAGMA table_info({table})")]
                columns = [
                    name for name in names if (table, name) not in (("jobs", "number"), ("events", "id"))
                ]
                marks = ", ".join("?" * len(columns))
                insert = f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({marks})"
                of_job = "id" if table == "jobs" else "job"
                for job in ids:
                    query = f"SELECT {', '.join(columns)} FROM {table} WHERE {of_job} = ? ORDER BY rowid"
                    for row in db.execute(query, (job,)):
                        values = list(row)
                        for place, name in enumerate(columns):
                            if name.endswith("_at") and values[place] is not None:
                                times.append(datetime.fromisoformat(values[place]) - start)
                                values[place] = _place(len(times) - 1)
                            elif name == "delivery":
                                values[place] = f"{DELIVERY}{job}"
                        rows.append([insert, values])
        return Kind(json.dumps(rows), tuple(times), tuple(ids))


def _place(number: int) -> str:
    """What stands for a time in the rows of a kind."""
    return f"@time-{number}@"


class Filler:
    """Writes what a service would have written while the clock went on."""

    def __init__(self, path: Path, kinds: Mapping[str, Kind], projects: int, nodes: list[str]) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA synchronous = OFF")
        self._kinds = kinds
        self._projects = projects
        self._nodes = nodes
        self._chance = random.Random(1)
        self.made = 0

    def close(self) -> None:
        self._db.close()

    def fill(self, moments: list[datetime]) -> None:
        """A push at each of these moments, from its webhook to its end."""
        self._db.execute("BEGIN IMMEDIATE")
        for moment in moments:
            names, weights = ("reload", "failed", "superseded", "move"), (84, 5, 10, 1)
            self._copy(self._kinds[self._chance.choices(names, weights)[0]], moment)
        self._db.execute("COMMIT")
        # Whoever comes next must not wait for what this did not wait for.
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA wal_checkpoint").fetchall()
        self._db.execute("PRAGMA synchronous = OFF")

    def _copy(self, kind: Kind, moment: datetime) -> None:
        number = self._chance.randrange(self._projects)
        source = number % len(self._nodes)
        project, node = f"site{number}", self._nodes[source]
        own = environment(project, node, "0" * 40)
        pattern = environment(Pattern.PROJECT, node, "0" * 40)
        replaced = {
            pattern.user_name: own.user_name,
            Pattern.PROJECT: project,
            Pattern.SOURCE: node,
            Pattern.TARGET: self._nodes[(source + 1) % len(self._nodes)],
            **{each: str(uuid.UUID(int=self._chance.getrandbits(128))) for each in kind.ids},
            **{_place(place): time_text(moment + since) for place, since in enumerate(kind.times)},
        }
        rows = kind.rows
        for old, new in replaced.items():
            rows = rows.replace(old, new)
        for insert, values in json.loads(rows):
            self._db.execute(insert, values)
        insert_slice(self._db, node, json.dumps({"node": node, "at": str(moment), "rest": "x" * 4000}))
        self.made += len(kind.ids)


@dataclass(frozen=True)
class PlayedRepository:
    """What the housekeeper asks a repository, of one that has nothing to be collected."""

    addresses: Mapping[str, str]

    def published_settings(self) -> "PlayedRepository":
        return self

    def folders(self) -> list[Path]:
        return []


@dataclass(frozen=True)
class Size:
    """How large the database was at some time, in bytes, and how many jobs it held."""

    when: str
    file: int
    log: int
    jobs: int


@dataclass
class Year:
    """What was measured; `held` and `alone` are the seconds of each transaction."""

    sizes: list[Size] = field(default_factory=list)
    largest: int = 0
    made: int = 0
    held: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)


def database_year(
    folder: Path,
    jobs: int,
    projects: int,
    nodes: int,
    period: timedelta = timedelta(hours=1),
    say: Callable[[str], None] = lambda _: None,
) -> Year:
    """A year of the database, and what is left when nobody has pushed for as long as jobs are kept."""
    clock, year = Clock(), Year()
    path = folder / "provider.sqlite3"
    kinds = Pattern(folder / "pattern.sqlite3").kinds()
    store = Store(path, clock)
    year_began, pause = clock.now, YEAR / jobs
    names = [f"node-{number}" for number in range(nodes)]
    repository, parts = PlayedRepository(dict.fromkeys(names, "")), Parts(folder / "transfers")
    keeper = Housekeeper(store, repository, RETENTION, parts, clock.seconds)
    filler = Filler(path, kinds, projects, names)
    measure_transactions(store, year.held)
    shown = {year_began + timedelta(days=days): f"month {month}" for month, days in SHOWN.items()}
    quiet = year_began + YEAR + timedelta(days=RETENTION.jobs + 1)
    shown[quiet] = f"{RETENTION.jobs + 1} days without a push"
    pushed = 0
    while clock.now < quiet:
        ends = clock.now + (period if pushed < jobs else timedelta(days=1))
        last = min(int((ends - year_began) / pause), jobs)
        # What began has ended before the hour has.
        filler.fill([year_began + number * pause - timedelta(minutes=10) for number in range(pushed, last)])
        pushed, clock.now = last, ends
        for name in names:
            store.hear_open_jobs(name, ())
        began = time.monotonic()
        with contextlib.redirect_stderr(io.StringIO()):
            while keeper.step():
                pass
        year.rounds.append(time.monotonic() - began)
        year.largest = max(year.largest, path.stat().st_size)
        if clock.now in shown:
            year.sizes.append(Size(shown[clock.now], *sizes_of(path), sum(store.counts().values())))
            say(str(year.sizes[-1]))
    year.made = filler.made
    filler.close()
    store.close()
    return year


def measure_transactions(store: Store, held: list[float]) -> None:
    """Note how long each transaction of the store takes, from its beginning to its being durable."""
    database = store._database
    transaction = database.transaction

    @contextlib.contextmanager
    def measured() -> Iterator[sqlite3.Connection]:
        began = time.monotonic()
        with transaction() as connection:
            yield connection
        held.append(time.monotonic() - began)

    database.transaction = measured


def sizes_of(path: Path) -> tuple[int, int]:
    """The bytes of the file, and of the log beside it."""
    log = path.with_name(f"{path.name}-wal")
    return path.stat().st_size, log.stat().st_size if log.exists() else 0


@dataclass
class Growth:
    """What pushes leave in each kind of repository, in bytes.

    `packed` are the sizes after half of the pushes and after all, with everything packed; `most` is the
    largest size that the housekeeper met. `locked` are the seconds for which it held the work tree's lock.
    """

    pushes: int
    packed: list[dict[str, int]] = field(default_factory=list)
    most: dict[str, int] = field(default_factory=dict)
    locked: list[float] = field(default_factory=list)
    unlocked: list[float] = field(default_factory=list)

    def of_push(self, kind: str) -> float:
        """The bytes that one push adds for good."""
        return (self.packed[1][kind] - self.packed[0][kind]) / (self.pushes - self.pushes // 2)


def repositories(config: Config, pushes: int, projects: int, nodes: int) -> Growth:
    """Real pushes of one environment each, an hour's between two visits of the housekeeper."""
    names = [f"node-{number}" for number in range(nodes)]
    addresses = {name: {"address": "192.0.2.1"} for name in names}
    document = {"hostenvHostname": "sites.example.org", "nodeFor": {"default": names[0]}, "nodes": addresses}
    settings = ProviderSettings.parse(document, config.public_url)
    repository, state = Repository(config), State.empty()
    node_repositories = NodeRepositories(repository)
    chance = random.Random(1)
    planned = [environment(f"site{each}", names[each % nodes], "0" * 40) for each in range(projects)]
    plan = Plan(
        settings.hostenv_hostname, config.public_url, {each.user_name: each for each in planned}, tuple(names)
    )
    with repository.locked():
        repository.create(settings)
    growth = Growth(pushes)
    for number in range(1, pushes + 1):
        moved = chance.choice(planned)
        own = environment(moved.project, moved.node, f"{chance.getrandbits(160):040x}")
        plan = replace(plan, environments={**plan.environments, own.user_name: own})
        with repository.locked():
            repository.sync()
            repository.write_generated(plan, state)
            sha = repository.commit(f"Deploy {own.project_key} ({uuid.UUID(int=chance.getrandbits(128))})")
            commit = node_repositories.commit(own.node, sha)
            repository.push(sha)
            node_repositories.advance(own.node, commit.sha)
        if number % 60 == 0:
            visit(repository, growth)
        if number in (pushes // 2, pushes):
            for folder in repository.folders():
                repository.git("gc", "--quiet", cwd=folder)
            growth.packed.append(folder_sizes(repository))
    return growth


def visit(repository: Repository, growth: Growth) -> None:
    """The housekeeper comes, once an hour."""
    for kind, size in folder_sizes(repository).items():
        growth.most[kind] = max(growth.most.get(kind, 0), size)
    for folder in repository.folders():
        began = time.monotonic()
        repository.collect(folder)
        seconds = growth.unlocked if folder == repository.bare else growth.locked
        seconds.append(time.monotonic() - began)


def folder_sizes(repository: Repository) -> dict[str, int]:
    """Bytes on the disk of each kind of repository; of files with several names all bytes, each time."""
    found = dict.fromkeys(("provider.git", "its work tree", "all nodes' repositories"), 0)
    for folder in repository.folders():
        kind = "provider.git" if folder == repository.bare else "all nodes' repositories"
        kind = "its work tree" if folder.name == ".git" else kind
        found[kind] += sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))
    return found


def configure(folder: Path) -> Config:
    """The machine's configuration of a provider in `folder`."""
    document = {
        "dataDir": str(folder / "data"),
        "socket": str(folder / "provider.sock"),
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "publicUrl": "http://provider",
        "tools": {"git": shutil.which("git")},
    }
    path = folder / "provider.json"
    path.write_text(json.dumps(document))
    os.environ[PATH_VARIABLE] = str(path)
    config = Config.load()
    config.data_dir.mkdir()
    return config


def commits_alone(path: Path, seconds: float) -> list[float]:
    """Seconds of each commit that SQLite makes alone, with the service's settings."""
    times: list[float] = []
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, message TEXT)")
        ends = time.monotonic() + seconds
        while (began := time.monotonic()) < ends:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO events (message) VALUES (?)", ("x" * 100,))
            connection.execute("COMMIT")
            times.append(time.monotonic() - began)
    return times


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=500_000)
    parser.add_argument("--projects", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--pushes", type=int, default=1000, help="real pushes to the Git repositories")
    parser.add_argument("--dir", type=Path, help="where all of it is written (a new folder below it)")
    options = parser.parse_args()

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="hostenv-year-", dir=options.dir) as name:
        folder = Path(name)
        alone = commits_alone(folder / "alone.sqlite3", 5)
        year = database_year(folder, options.jobs, options.projects, options.nodes, say=say)
        # A disk that others use too is not as fast all the time.
        alone += commits_alone(folder / "alone.sqlite3", 5)
        growth = None
        if options.pushes:
            growth = repositories(configure(folder), options.pushes, options.projects, options.nodes)
    show_database(year, alone)
    if growth is not None:
        show_repositories(growth, options.jobs)
    return 0


def show_database(year: Year, alone: list[float]) -> None:
    print(f"{year.made} jobs in a year, kept for {RETENTION.jobs} days:\n")
    print("| | database, MiB | its log, MiB | jobs |")
    print("|---|---:|---:|---:|")
    for size in year.sizes:
        print(f"| {size.when} | {size.file / MIB:.0f} | {size.log / MIB:.0f} | {size.jobs} |")
    print(f"| at most | {year.largest / MIB:.0f} | | |")
    print("\n| milliseconds | transactions of the housekeeper | a commit of SQLite alone | ratio |")
    print("|---|---:|---:|---:|")
    of_year, of_alone = sorted(year.held), sorted(alone)
    for name, part in (("median", 0.5), ("99 %", 0.99), ("99.9 %", 0.999), ("longest", 1.0)):
        one, other = (1000 * each[min(len(each) - 1, int(len(each) * part))] for each in (of_year, of_alone))
        print(f"| {name} | {one:.1f} | {other:.1f} | {one / other:.1f} |")
    mean = statistics.mean(year.rounds)
    print(f"\n{len(of_year)} transactions in {len(year.rounds)} rounds of {mean:.2f} s each")


def show_repositories(growth: Growth, jobs: int) -> None:
    print(f"\n{growth.pushes} real pushes; a year is {jobs} times what one adds for good:\n")
    print("| Git | MiB at most between two visits | bytes for good of one push | MiB of a year |")
    print("|---|---:|---:|---:|")
    for kind, most in growth.most.items():
        one = growth.of_push(kind)
        print(f"| {kind} | {most / MIB:.1f} | {one:.0f} | {one * jobs / MIB:.0f} |")
    print(
        f"\nlongest with the work tree's lock: {max(growth.locked):.1f} s;"
        f" without it: {max(growth.unlocked):.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
