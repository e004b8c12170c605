"""One schedule: what happens by chance, then calm, then what must hold."""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import accumulate
from typing import cast
from unittest.mock import patch

from hostenv_core import names
from hostenv_core.states import ENDED, JobState, Status
from hostenv_core.web import Problem
from hostenv_node.jobs.api import Api
from hostenv_provider.rules.jobs import Request
from hostenv_provider.rules.stored import Delivery, Target
from hostenv_provider.store.store import Store
from hostenv_provider.work import verify

from simulator.events import BUSY, EVENTS, move_all
from simulator.faults import Faults
from simulator.history import History
from simulator.ledger import Ledger
from simulator.machines import Machine, on_made_up_disks
from simulator.network import Network, SimulatedApi
from simulator.observed import Observed
from simulator.provider import JOB_TIMEOUT, Project, Provider, empty_tree
from simulator.scheduler import Task
from simulator.sites import Broken, Phase, Sites
from simulator.tenants import Tenants

_TIMER = 30.0
_LONGEST_EVENT = 20.0
_ROUNDS = 60
"""So many rounds of the timer must bring all that is under way to its end or to its time-out."""
_EXPIRIES = 12


class World:
    """Provider, nodes, visitors and operators of one schedule."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.lines: list[str] = []
        self.now = 0.0
        self.faults = faults = Faults(seed, self._log if trace else _discard)
        chance = faults.random
        nodes = ("node-a", "node-b", "node-c")[: chance.choice((2, 2, 3))]
        branches = [("main",), ("main", "stage"), ("main",)]
        self.projects = {
            project.key: project
            for project in [
                Project(name, branches[index], dict.fromkeys(branches[index], 1))
                for index, name in enumerate(("shop", "blog", "wiki")[: chance.choice((1, 2, 3))])
            ]
        }
        self.users = [project.user(each) for project in self.projects.values() for each in project.branches]
        tree = empty_tree(nodes)
        self.history = History(tree)
        repositories = {
            node: History(tree.of_nodes[node], number) for number, node in enumerate(nodes, start=1)
        }
        self.sites = Sites(lambda node: self.machines[node].up)
        self.tenants = Tenants(faults, self._clock)
        projects = list(self.projects.values())
        self._hostile = [
            project.user(branch)
            for project in projects[: faults.choose(len(projects))]
            for branch in project.branches
        ]
        # However many of them hang in a job, a slot is left for the others. A job that failed is cleaned up
        # beside the one before it, so that an environment may hang in several at once.
        slots = 3 * len(self._hostile) + 1
        self.job_ids: list[str] = []
        self._open: list[str] = []
        self.deliveries: list[tuple[Request, Delivery]] = []
        self.ledger = Ledger(self.projects, self.history, self.sites, faults.log)
        self.expired_in_calm = 0
        kept = Store(None, _datetimes(self._clock), self._new_id)
        observed = Observed(kept, faults.point, self.ledger)
        self.store = self.ledger.store = cast(Store, observed)
        self.provider = Provider(
            self.history, repositories, self.projects, self.store, observed.announced, faults
        )
        self.network = Network(self.provider, faults)
        series = chance.choice((("11.8",), ("11.8",), ("11.8", "12.3", None), (None,)))
        self.machines = {
            name: Machine(
                name,
                repositories[name],
                self.sites,
                faults,
                self.tenants,
                slots,
                chance.choice(series),
                self.ledger.began,
            )
            for name in nodes
        }
        apis = {name: SimulatedApi(machine, self.network) for name, machine in self.machines.items()}
        self._apis = {name: cast(Api, api) for name, api in apis.items()}
        for name, machine in self.machines.items():
            machine.operations.transfers = apis[name]
        self.nodes = list(self.machines.values())

    # The whole schedule

    def run(self, events: int) -> None:
        """Raises Broken if an invariant does not hold."""
        with ExitStack() as stack:
            stack.enter_context(on_made_up_disks(self.machines))
            stack.enter_context(patch.object(verify, "problem", self._problem))
            stack.enter_context(_heard(self.faults.log))
            stack.enter_context(patch.object(names, "user_name", _user_name))
            stack.enter_context(patch.object(names, "project_key", _project_key))
            try:
                self._begin()
                for user in self._hostile:
                    self.tenants.spoil(user)
                self._disturb(events)
                self._calm()
                self._neighbours_go_on()
                self.tenants.mend()
                self._settle()
                self.ledger.check_failed_moves()
                self.ledger.check_superseded()
                self.ledger.check_requests()
                if self.faults.choose(2):
                    self._move_all()
                self._deploy_again()
                self.ledger.check_end()
            finally:
                self._stop()

    def _begin(self) -> None:
        """Each site is deployed for the first time, mostly without a fault."""
        if self.faults.choose(10) == 0:
            return
        preemption = self.faults.scheduler.preemption
        self.faults.active, self.faults.scheduler.preemption = False, 0.0
        for project in self.projects.values():
            self.store.enqueue(Request(project.key, refs=None))
        self._settle()
        self.faults.active, self.faults.scheduler.preemption = True, preemption

    def _disturb(self, events: int) -> None:
        all_events = [*EVENTS, *self.faults.random.choice((BUSY, (), (), ()))]
        weights = list(accumulate(weight for weight, _ in all_events))
        chosen = self.faults.random.choices([event for _, event in all_events], cum_weights=weights, k=events)
        random = self.faults.random.random
        for event in chosen:
            self.now += random() * _LONGEST_EVENT
            event(self)

    def _calm(self) -> None:
        """Faults end: everything is up and connected, and a broken commit is mended."""
        self.faults.log("calm")
        self.faults.active = False
        self.faults.scheduler.preemption = 0.0
        if not self.provider.up:
            self.provider.start()
        for machine in self.nodes:
            machine.cut = False
            if not machine.up:
                machine.boot()
        while self.network.late:
            self.network.deliver_late()
        if self.history.head.tree.broken:
            self.provider.commit_by_operator(lambda tree: replace(tree, broken=False))

    def _neighbours_go_on(self) -> None:
        """No project waits for another's job, whatever that one's tenant does (contract 7, side by side)."""
        quiet = [
            project
            for project in self.projects.values()
            if not any(self.tenants.is_hostile(project.user(branch)) for branch in project.branches)
        ]
        if len(quiet) == len(self.projects):
            return
        keys = {project.key for project in quiet}
        self._settle(lambda: self._at_rest(keys))
        jobs = {project.key: self.store.enqueue(Request(project.key, refs=None)).job_id for project in quiet}
        for _ in range(_ROUNDS):
            if self._at_rest(keys):
                break
            self._round()
        for key, job in jobs.items():
            self.faults.log(f"beside hostile homes: {job} of {key} is {self._state(job)}")
            if self._state(job) is not JobState.SUCCEEDED:
                reason = self._reason(job)
                raise Broken(f"{job} of {key} is {self._state(job)} beside hostile homes: {reason}")

    def _settle(self, at_rest: Callable[[], bool] | None = None) -> None:
        """Everything comes to its end by itself, or what is asked for."""
        for _ in range(_EXPIRIES):
            for _ in range(_ROUNDS):
                if (at_rest or self._quiet)():
                    return
                self._round()
            self.faults.log("nothing moves")
            self._check_rounds()
            self.expired_in_calm += 1
            self.now += JOB_TIMEOUT
        raise Broken(f"not quiet: {self._open}")

    def _check_rounds(self) -> None:
        """What a live move has begun on both nodes needs no time-out: none waits for ever for the other."""
        for job in self._open:
            for row in self.store.snapshot(job).rows:
                user, op = row.action.user, row.action.op
                live = op in ("sync", "handover") and row.status is Status.RUNNING
                if live and not self.tenants.is_hostile(user):
                    raise Broken(f"{op} of {user} in {job} waits for ever on {row.node}")

    def _at_rest(self, projects: Collection[str]) -> bool:
        """Whether all jobs of these projects have ended, and nodes have done with them."""
        begun = {job for machine in self.nodes for job in machine.disk.journals}
        self._all_ended()
        return not any(self._project(job) in projects for job in {*self._open, *begun})

    def _all_ended(self) -> bool:
        self._open = [job for job in self._open if self._state(job) not in ENDED]
        return not self._open

    def _quiet(self) -> bool:
        return (
            self._all_ended()
            and not self.provider.behind
            and not any(
                machine.disk.journals or machine.disk.spool or machine.wanted or not machine.up_to_date
                for machine in self.nodes
            )
        )

    def _round(self) -> None:
        self.now += _TIMER
        for machine in self.nodes:
            self.follow(machine)
            self.activate(machine)
            for job in machine.living_jobs:
                self.work_on(machine, job)
        self.work()
        self.verify()
        self.store.expire(JOB_TIMEOUT)
        for user in self.users:
            self.sites.write(user)

    def _move_all(self) -> None:
        """Sites move in all directions at once, whatever runs of them; no move waits for another's end."""
        for project in self.projects.values():
            project.disabled.clear()
        jobs = {request.project: job for job, request in move_all(self)}
        for _ in range(2 * len(jobs)):
            # Nodes hear of all of them before they begin with one.
            self.work()
        self._settle()
        for key, job in jobs.items():
            self._demand_success(key, job)

    def _demand_success(self, key: str, job: str) -> None:
        if self._state(job) is not JobState.SUCCEEDED:
            raise Broken(f"{job} of {key} is {self._state(job)} without a fault: {self._reason(job)}")

    def _deploy_again(self) -> None:
        """After the cause of failures is gone, the next webhook moves each site where it belongs."""
        for project in self.projects.values():
            job = self.store.enqueue(Request(project.key, refs=None)).job_id
            self.faults.log(f"webhook: {project.key} → {job}")
            self._settle()
            self._demand_success(project.key, job)

    def _stop(self) -> None:
        tasks = [self.provider.worker_task, self.provider.verifier_task]
        for machine in self.nodes:
            tasks += [machine.activation_task, machine.comin_task, *machine.job_tasks.values()]
        for task in tasks:
            if task is not None and not task.done:
                self.faults.scheduler.kill(task)

    # Programs

    def _task(self, task: Task | None, name: str, work: Callable[[], None]) -> Task:
        if task is None or task.done:
            task = Task(name, work)
        self.faults.scheduler.resume(task)
        return task

    def activate(self, machine: Machine) -> None:
        if machine.up and not (
            _is_done(machine.activation_task)
            and machine.idle
            and not self.store.waiting_intents(machine.name)
        ):
            api = self._apis[machine.name]
            machine.activation_task = self._task(
                machine.activation_task, f"activation of {machine.name}", lambda: machine.activate(api)
            )

    def work_on(self, machine: Machine, job: str) -> None:
        """Let the unit of a job go on."""
        self.faults.scheduler.resume(machine.job_tasks[job])

    def follow(self, machine: Machine) -> None:
        if machine.up and not (_is_done(machine.comin_task) and machine.up_to_date):
            api = self._apis[machine.name]
            machine.comin_task = self._task(
                machine.comin_task, f"comin of {machine.name}", lambda: machine.follow(api)
            )

    def work(self) -> None:
        if self.provider.up and not (
            _is_done(self.provider.worker_task) and self._all_ended() and not self.provider.behind
        ):
            self.provider.worker_task = self._task(self.provider.worker_task, "worker", self.provider.work)

    def verify(self) -> None:
        if self.provider.up and not (_is_done(self.provider.verifier_task) and not self.store.verifiable()):
            self.provider.verifier_task = self._task(
                self.provider.verifier_task, "verifier", self.provider.verify
            )

    def _problem(self, target: Target, fetch: object) -> Problem | None:  # noqa: ARG002
        """The service's check of an environment."""
        self.faults.point()
        machine = self.machines[target.address]
        copy = self.sites.copy(machine.name, target.user)
        found = None
        if not machine.up or machine.cut or copy.phase is not Phase.ACTIVE:
            found = Problem("no answer", definite=False)
        elif self.faults.happens("check"):
            found = Problem("status 500", definite=True)
        self.faults.point()
        return found

    # Small things

    def counts(self) -> Counter[str]:
        """Figures of the schedule, for sums over many."""
        counts = Counter(f"jobs {self._state(job)}" for job in self.job_ids)
        counts["writes"] = self.sites.written
        counts["commits"] = self.history.head.number
        counts["time-outs in the calm"] = self.expired_in_calm
        return counts

    def _project(self, job_id: str) -> str:
        job = self.store.job(job_id)
        assert job is not None
        return job.request.project

    def _state(self, job_id: str) -> JobState:
        return self.store.snapshot(job_id).state

    def _reason(self, job_id: str) -> str | None:
        job = self.store.job(job_id)
        return None if job is None else job.reason

    def _clock(self) -> float:
        return self.now

    def _new_id(self) -> str:
        job_id = f"job-{len(self.job_ids)}"
        self.job_ids.append(job_id)
        self._open.append(job_id)
        return job_id

    def _log(self, line: str) -> None:
        self.lines.append(f"{self.now:9.1f} {line}")


# The same few names are made all the time.
_user_name = cache(names.user_name)
_project_key = cache(names.project_key)


def _is_done(task: Task | None) -> bool:
    return task is None or task.done


def _datetimes(clock: Callable[[], float]) -> Callable[[], datetime]:
    epoch = datetime(2026, 1, 1, tzinfo=UTC)
    return lambda: epoch + timedelta(seconds=clock())


class _Hearing(logging.Handler):
    """Tells the trace what the service logs."""

    def __init__(self, log: Callable[[str], None]) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log(record.getMessage())


@contextmanager
def _heard(log: Callable[[str], None]) -> Iterator[None]:
    """While the service's log goes to `log`, and nowhere else."""
    service = logging.getLogger("hostenv_provider")
    level, handler = service.level, _Hearing(log)
    service.setLevel(logging.INFO)
    service.addHandler(handler)
    try:
        with patch.object(service, "propagate", new=False):
            yield
    finally:
        service.removeHandler(handler)
        service.setLevel(level)


def _discard(line: str) -> None:
    """Nobody reads the trace."""
