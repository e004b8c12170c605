"""Runs the test script on machines, with visitors on the site, and collects the evidence."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from hostenv_lab.driver import explain
from hostenv_lab.log import Log

from hostenv_demo.collect import Collector
from hostenv_demo.console import Console
from hostenv_demo.evidence import Evidence, Recorder
from hostenv_demo.machines import Machines
from hostenv_demo.names import NODES
from hostenv_demo.provider_service import ProviderService
from hostenv_demo.stages import STAGES
from hostenv_demo.visitors import Visitors
from hostenv_demo.watch import JobsWatch, Progress


class Session:
    """One run of the script. `parts` says, for the report, which comin and which Drupal run."""

    def __init__(
        self,
        machines: Machines,
        recorder: Recorder,
        evidence: Path,
        console: Console,
        parts: Mapping[str, str],
    ) -> None:
        self._machines = machines
        self._console = console
        self._parts = {"machines": machines.kind, **parts}
        service = ProviderService(machines.workdir)
        self._jobs = JobsWatch(service, recorder)
        self._collector = Collector(recorder, evidence, service)
        self._visitors = Visitors(sites(machines), recorder.request)

    def play(self, script: Path, before: Callable[[str], None]) -> Evidence:
        """Run the script, calling `before` with the name of each stage; returns what is known of the run.

        Raises KeyboardInterrupt if `before` or the user does.
        """
        error = None
        with self._jobs:
            try:
                self._machines.driver.run_script(script, subtest=self._accompanied(before))
            except Exception as raised:
                error = explain(raised, script)
                self._console.error(error)
        return self._collect(error)

    def progress(self) -> Progress | None:
        """How far the newest job is."""
        return self._jobs.progress()

    def _accompanied(
        self, before: Callable[[str], None]
    ) -> Callable[[str], contextlib.AbstractContextManager[None]]:
        @contextlib.contextmanager
        def subtest(name: str) -> Iterator[None]:
            before(name)
            if name in STAGES and STAGES[name].visitors:
                self._visitors.start()
            try:
                with self._machines.driver.subtest(name):
                    yield
            finally:
                self._visitors.stop()

        return subtest

    def _collect(self, error: str | None) -> Evidence:
        machines = {machine.name: machine for machine in self._machines.driver.machines}
        with Log(self._console).nested("gathering what the machines know"):
            self._collector.jobs()
            self._collector.versions(list(machines.values()))
            self._collector.notes(machines[NODES[1]])
            self._collector.service_log(
                machines["provider"], self._machines.workdir / "logs" / "provider-service.log"
            )
            return self._collector.finish(error, self._parts)


def sites(machines: Machines) -> dict[str, str]:
    """Where each node's sites answer on this host."""
    return {node: machines.endpoints[node] for node in NODES}
