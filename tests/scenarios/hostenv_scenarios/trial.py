"""One fault while a visitor reads and writes: what must hold afterwards, and the figures of it."""

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from hostenv_scenarios.cluster import FOLDER, Cluster, Job
from hostenv_scenarios.driver import ScenarioFailed
from hostenv_scenarios.figures import Figure
from hostenv_scenarios.requests_log import Notes, Request, compare, longest_gap, parse
from hostenv_scenarios.site import Site


class Trial:
    """A fault that goes on; made by `Trials.fault`. `requests` are the visitors', once it is over."""

    def __init__(self, cluster: Cluster) -> None:
        self.requests: list[Request] = []
        self._cluster = cluster
        self._began: float | None = None
        self._ended = 0.0
        self._states: list[str] = []

    def begin(self) -> None:
        """From now on the time to the verdict counts."""
        self._began = self._began or time.monotonic()

    def fire_webhook(self, site: Site) -> str:
        """`Cluster.fire_webhook`, timed."""
        self.begin()
        return self._cluster.fire_webhook(site)

    def migrate(self, site: Site, node: str) -> str:
        """`Cluster.migrate`, timed."""
        self.begin()
        return self._cluster.migrate(site, node)

    def demand(self, job_id: str, state: str, limit: int = 300) -> Job:
        """`Cluster.demand`, timed."""
        job = self._cluster.demand(job_id, state, limit)
        self.saw(job)
        return job

    def saw(self, job: Job) -> None:
        """Count a verdict that the caller has waited for."""
        self._ended = time.monotonic()
        self._states.append(str(job["state"]))

    @property
    def verdict(self) -> str:
        return ", ".join(dict.fromkeys(self._states))

    @property
    def to_verdict(self) -> float:
        return self._ended - self._began if self._began is not None else 0.0


class Trials:
    """All faults of one script: what was ever accepted must be there after each of them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._numbers = itertools.count(1)
        self._notes: dict[Site, Notes] = {}

    @contextmanager
    def fault(self, name: str, ends_at: dict[Site, str]) -> Iterator[Trial]:
        """A fault, and the node that must serve each site after it.

        Raises ScenarioFailed when a write is lost or doubled, content differs, a site is not served by
        exactly that node, takes no writes, or a node does not close its jobs.
        """
        cluster, number = self._cluster, next(self._numbers)
        with cluster.subtest(name), ExitStack() as visitors:
            before = {site: cluster.content(site, cluster.deployed(site)) for site in ends_at}
            logs = {}
            for site in ends_at:
                logs[site] = f"{FOLDER}/{number}-{site.name}.log"
                visitors.enter_context(self._visitor(site, f"{number}-{site.name}", logs[site]))
            trial = Trial(cluster)
            yield trial
            for site, node in ends_at.items():
                cluster.writable(site, node, 120)
            visitors.close()
            self._settled(ends_at)
            requests = {site: parse(cluster.provider.succeed(f"cat {log}")) for site, log in logs.items()}
            trial.requests = [each for log in requests.values() for each in log]
            lost = 0
            for site, node in ends_at.items():
                if cluster.content(site, node) != before[site]:
                    raise ScenarioFailed(f"the content of {site.user} on {node} is not what it was")
                lost += self._compare_notes(site, node, requests[site])
            self._report(name, trial, list(requests.values()), lost)

    @contextmanager
    def _visitor(self, site: Site, run: str, log: str) -> Iterator[None]:
        provider = self._cluster.provider
        program = self._cluster.install(provider, "visitor")
        unit = f"hostenv-scenario-visitor-{run}.service"
        provider.succeed(
            f"systemd-run --quiet --collect --unit {unit} {program} {log} {site.host} run-{run}"
            f" {' '.join(self._cluster.nodes)}"
        )
        try:
            # a trial that begins before the first accepted write would count a gap of its own
            provider.wait_until_succeeds(f"grep -q 'run-.*\"status\": 201' {log}", 60)
            yield
        finally:
            provider.succeed(f"systemctl stop {unit} 2>/dev/null || true")

    def _settled(self, ends_at: dict[Site, str]) -> None:
        cluster = self._cluster
        for machine in cluster.nodes.values():
            # nobody need wait here for the timer
            machine.succeed("systemctl start hostenv-activate.service", timeout=120)
            machine.wait_until_succeeds('jobs=$(ls /var/lib/hostenv/jobs); test -z "$jobs"', 120)
        for site, node in ends_at.items():
            deployed = cluster.deployed(site)
            if deployed != node:
                raise ScenarioFailed(f"{site.user} is served by {deployed}, not by {node}")

    def _compare_notes(self, site: Site, node: str, requests: Sequence[Request]) -> int:
        expected = self._notes.get(site, Notes()).with_requests(requests)
        self._notes[site] = expected
        difference = compare(expected, self._cluster.notes(site, node))
        if not difference.nothing:
            raise ScenarioFailed(f"{site.user} on {node}: {difference}")
        return len(difference.lost)

    def _report(self, name: str, trial: Trial, logs: Sequence[Sequence[Request]], lost: int) -> None:
        figure = Figure(
            fault=name,
            verdict=trial.verdict,
            accepted=sum(1 for log in logs for each in log if each.note is not None and each.ok),
            lost=lost,
            read_gap=round(max(longest_gap(log, writes=False) for log in logs), 1),
            write_gap=round(max(longest_gap(log, writes=True) for log in logs), 1),
            to_verdict=round(trial.to_verdict, 1),
        )
        self._cluster.log.info(figure.line())
