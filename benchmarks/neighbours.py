#!/usr/bin/env python3
"""What a project notices of a neighbour on the same node that does its worst: push to verdict and page times.

A quiet project is measured alone, then during each thing that a hostile one can do, then alone again, which
shows how much the host itself changed meanwhile. Ratios are to the first row. What the hostile project does
is bounded: `--mebibytes` on a disk, 64 processes, 6000 connections.
Machines without a `cpu` controller, as containers have it on control groups v1, show processes at their
worst: nothing divides the processors among slices there.
Example: ./benchmarks/neighbours.py --quick
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / each) for each in ("pkgs/hostenv-core", "pkgs/hostenv-lab", "tests/scenarios")]

from hostenv_lab import description, record  # noqa: E402
from hostenv_lab.errors import TestScriptError  # noqa: E402
from hostenv_lab.host import CHOICES  # noqa: E402
from hostenv_lab.lab import Lab, ending_signals  # noqa: E402
from hostenv_lab.log import Event  # noqa: E402
from hostenv_scenarios.cluster import BACKUPS, Cluster  # noqa: E402
from hostenv_scenarios.driver import ScenarioFailed, quote  # noqa: E402
from hostenv_scenarios.site import Site  # noqa: E402

QUIET, HOSTILE = Site("quiet"), Site("hostile")
NODE = "node-a"
PROCESSES, CONNECTIONS = 64, 6000
LIMIT = 300
UNIT = "hostenv-benchmark.service"

# Fills most of the box's 2 GiB, then computes until the box's time is up.
_HEAVY = """{ outputs = _: { lib.hostenv = rec {
  x86_64-linux.environments =
    let l = builtins.genList (x: [ (x + 1) ]) 8000000;
    in builtins.deepSeq l (builtins.foldl' (a: _: builtins.foldl' (b: y: b + builtins.head y) a l) 0 l);
  aarch64-linux = x86_64-linux;
}; }; }"""


@dataclass(frozen=True)
class Measured:
    """Seconds of pushes to their verdicts and of pages, and what did not go well."""

    pushes: list[float]
    pages: list[float]
    problems: list[str]

    @property
    def figures(self) -> tuple[float, float, float]:
        """Median seconds of a push and of a page, and the page's 95th percentile."""
        slow = sorted(self.pages)[(len(self.pages) - 1) * 95 // 100]
        return statistics.median(self.pushes), statistics.median(self.pages), slow


class Worst:
    """What the hostile project does, each as long as its context lasts."""

    def __init__(self, cluster: Cluster, mebibytes: int) -> None:
        self._cluster = cluster
        self._mebibytes = mebibytes

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Pushes a second of flakes that take all the time and memory that they may."""
        cluster, provider = self._cluster, self._cluster.provider
        commit = "git -c user.name=x -c user.email=x@localhost commit --quiet --all --message x"
        push = f'curl -sS -d \'{{"ref": "refs/heads/main"}}\' http://provider/webhook/{HOSTILE.hash}'
        loop = f"cd {HOSTILE.folder}; while :; do date +%s%N > changed; {commit}; {push}; sleep 1; done"
        provider.succeed(
            f"cp -p {HOSTILE.folder}/flake.nix /tmp/flake.nix",
            f"printf %s {quote(_HEAVY)} > {HOSTILE.folder}/flake.nix",
            f"systemd-run --quiet --collect --unit {UNIT} --uid hostenv-provider sh -c {quote(loop)}",
        )
        try:
            provider.wait_until_succeeds("systemctl --quiet is-active 'hostenv-evaluate@*'", 120)
            yield
        finally:
            provider.succeed(f"systemctl stop {UNIT}", f"cp -p /tmp/flake.nix {HOSTILE.folder}/flake.nix")
        cluster.commit(HOSTILE, "An honest release")
        cluster.fire_webhook(HOSTILE)

    @contextmanager
    def storage(self) -> Iterator[None]:
        """Writes the home full and again, and backups until they are full."""
        some = f"head -c {self._mebibytes // 8}M /dev/urandom"
        home = f"for i in 1 2 3 4; do {some} > ~/full.$i; sync ~/full.$i; done"
        backup = f"{some} | restic --quiet backup --stdin --no-cache || sleep 1"
        account = "set -a; . ~/.config/hostenv/backup.env; set +a"
        loops = f"(while :; do {home}; done) & for i in 1 2 3 4; do {backup}; done; wait"
        with self._unit(f"{account}; {loops}", "test -e ~/full.2"):
            yield
        size = self._cluster.provider.succeed(f"du -sm {BACKUPS}/{HOSTILE.user} | cut -f1").strip()
        print(f"backups of the hostile project: {size} MiB", file=sys.stderr)
        self._as_hostile("rm -f ~/full.*")

    @contextmanager
    def processes(self) -> Iterator[None]:
        """Processes that compute and fork, half of them in a unit, half in a session."""
        half = PROCESSES // 2
        work = "while test -e ~/busy; do i=0; while test $i -lt 10000; do i=$((i+1)); done; /bin/true; done"
        start = f"for i in $(seq {half}); do setsid sh -c {quote(work)} < /dev/null > /dev/null 2>&1 & done"
        self._as_hostile(f"touch ~/busy; {start}")
        try:
            with self._unit(f"{start}; wait", f"test $(pgrep -cf 'while test -e ./busy') -ge {PROCESSES}"):
                yield
        finally:
            self._as_hostile("rm ~/busy")

    @contextmanager
    def connections(self) -> Iterator[None]:
        """Connections to the node's front door and to the provider that never say all that they began."""
        program = self._cluster.install(self._cluster.nodes[NODE], "connections")
        many = f"test $(ss -Htn state established | wc -l) -ge {CONNECTIONS // 2}"
        with self._unit(f"exec {program} {CONNECTIONS} {NODE} provider", many):
            yield

    @contextmanager
    def _unit(self, script: str, going: str) -> Iterator[None]:
        """A unit of the hostile project's own manager, from when the command `going` succeeds there."""
        run = quote(
            "systemd-run", "--user", "--quiet", "--collect", "--unit", UNIT, "-p", "LimitNOFILE=16384"
        )
        self._as_hostile(f"{run} bash -c {quote(script)}")
        try:
            node = self._cluster.nodes[NODE]
            node.wait_until_succeeds(quote("su", "-", HOSTILE.user, "-c", going), 120)
            yield
        finally:
            self._as_hostile(f"systemctl --user stop {UNIT} || true")

    def _as_hostile(self, command: str) -> None:
        self._cluster.as_environment(self._cluster.nodes[NODE], HOSTILE, command)


def measure(cluster: Cluster, pushes: int, pages: int) -> Measured:
    """The quiet project's figures as things are now; a push without a verdict counts as the limit."""
    url = quote(f"http://{NODE}/?[1-{pages}]")
    output = cluster.provider.succeed(
        f"curl -s -o /dev/null --max-time 60 -w '%{{http_code}} %{{time_total}}\\n'"
        f" -H 'Connection: close' -H 'Host: {QUIET.host}' {url} || true"
    )
    answers = [line.split() for line in output.splitlines()]
    problems = [f"page: {status}" for status, _ in answers if status != "200"]
    seconds = []
    for _ in range(pushes):
        cluster.commit(QUIET, "A release of a quiet project")
        began = time.monotonic()
        try:
            state = cluster.verdict(cluster.fire_webhook(QUIET), LIMIT)["state"]
        except (ScenarioFailed, TestScriptError) as error:
            state = str(error).partition(": ")[0]
        seconds.append(time.monotonic() - began)
        if state != "succeeded":
            problems.append(f"push: {state}")
    return Measured(seconds, [float(taken) for _, taken in answers], problems)


def table(rows: list[tuple[str, Measured]]) -> str:
    """Markdown; a ratio to the first row stands behind each figure."""
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    head = (
        f"| {os.cpu_count()} CPUs, load {load} | push to verdict [s] | page, median [ms] | page, 95 % [ms] |"
    )
    lines = [f"{head} other answers |", "|---|---:|---:|---:|---|"]
    alone = rows[0][1].figures
    for name, measured in rows:
        cells = [
            f"{figure * scale:.1f} ({figure / base:.1f} times)"
            for figure, base, scale in zip(measured.figures, alone, (1, 1000, 1000), strict=True)
        ]
        problems = ", ".join(
            f"{measured.problems.count(each)} {each}" for each in dict.fromkeys(measured.problems)
        )
        lines.append(f"| {' | '.join([name, *cells, problems])} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--machines", choices=CHOICES, default="container")
    parser.add_argument("--quick", action="store_true", help="1 push and 50 pages a row, not 3 and 200")
    parser.add_argument("--mebibytes", type=int, default=1024, help="on disks at most (1024)")
    options = parser.parse_args()
    pushes, pages = (1, 50) if options.quick else (3, 200)

    def note(event: Event) -> None:
        if event.kind == "stage":
            print(event.text, file=sys.stderr, flush=True)

    rows: list[tuple[str, Measured]] = []
    described = description.load(ROOT / "pkgs" / "hostenv-demo" / "machines" / "machines.toml")
    with tempfile.TemporaryDirectory(prefix="hostenv-neighbours-") as folder, ending_signals():
        workdir = Path(folder) / "run"
        try:
            with Lab(described, workdir, options.machines, on_event=note) as lab:
                driver = lab.driver
                machines = {machine.name: machine for machine in driver.machines}
                provider = machines.pop("provider")
                cluster = Cluster(provider, machines, driver.log, driver.retry, driver.subtest)
                with driver.subtest("A provider, two nodes, and two projects on one of them"):
                    cluster.set_up()
                    for site in (QUIET, HOSTILE):
                        cluster.add_site(site)
                worst = Worst(cluster, options.mebibytes)
                trials: list[tuple[str, Callable[[], AbstractContextManager[None]]]] = [
                    ("alone", nullcontext),
                    ("evaluation", worst.evaluation),
                    ("storage", worst.storage),
                    ("processes", worst.processes),
                    ("connections", worst.connections),
                    ("alone, again", nullcontext),
                ]
                for name, trial in trials:
                    with driver.subtest(name), trial():
                        rows.append((name, measure(cluster, pushes, pages)))
                    # What is left of one row must not be in the next.
                    provider.wait_until_succeeds(
                        "jobs=$(hostenv-provider jobs) && ! grep -E 'queued|running|waiting' <<< \"$jobs\"",
                        LIMIT,
                    )
        finally:
            record.teardown(workdir)
            if rows:
                print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
