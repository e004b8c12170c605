"""What happens by chance while faults are about, and how often."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hostenv_provider.rules.jobs import Request, unmet
from hostenv_provider.rules.stored import Delivery

from simulator.history import Tree
from simulator.machines import Machine
from simulator.provider import JOB_TIMEOUT

if TYPE_CHECKING:
    from simulator.world import World

_PREEMPTION_BEFORE_A_CRASH = 0.4


def _any(world: "World") -> Machine:
    return world.nodes[world.faults.choose(len(world.nodes))]


def _node(world: "World") -> None:
    """The activation of a node goes on, or one of its jobs."""
    machine = _any(world)
    jobs = machine.living_jobs
    chosen = world.faults.choose(len(jobs) + 1)
    if chosen == len(jobs):
        world.activate(machine)
    else:
        world.work_on(machine, jobs[chosen])


def _comin(world: "World") -> None:
    world.follow(_any(world))


def _write(world: "World") -> None:
    for user in world.users:
        world.sites.write(user)


def _onward(world: "World") -> None:
    """Everything goes on, as it mostly does outside of tests: so that moves get far before a fault comes."""
    for machine in world.nodes:
        world.follow(machine)
        world.activate(machine)
        for job in machine.living_jobs:
            world.work_on(machine, job)
    world.work()
    world.verify()
    _write(world)


def _expiry(world: "World") -> None:
    if world.provider.up:
        if world.faults.choose(4) == 0:
            world.now += JOB_TIMEOUT
        world.store.expire(JOB_TIMEOUT)


def _request(world: "World") -> None:
    if not world.provider.up:
        return
    choose, chance = world.faults.choose, world.faults.random
    project = chance.choice(list(world.projects.values()))
    branch = chance.choice(project.branches)
    user = project.user(branch)
    nodes = list(world.machines)
    kind = chance.random()
    delivery = None
    if kind < 0.05 and world.deliveries:
        request, delivery = chance.choice(world.deliveries)
    elif kind < 0.35:
        project.heads[branch] += 1
        for toggled, odds in ((project.disabled, 8), (project.without_data, 10)):
            if choose(odds) == 0:
                toggled.symmetric_difference_update({branch})
        request = Request(project.key, refs=None if choose(3) == 0 else frozenset({branch}))
        delivery = Delivery(project.key, f"delivery-{len(world.deliveries)}")
        world.deliveries.append((request, delivery))
    elif kind < 0.95 or world.store.deployment(user) is None:
        source = {user: chance.choice(nodes)} if choose(6) == 0 else {}
        request = Request(
            project.key,
            placements={user: chance.choice(nodes)},
            migration_sources=source,
            skip_migrations=frozenset({user} if choose(10) == 0 else ()),
        )
    else:
        deployment = world.store.deployment(user)
        if deployment is None or deployment.previous_source is None:
            return
        request = Request(project.key, rollbacks={user: branch})
    enqueued = world.store.enqueue(request, delivery)
    world.faults.log(f"asked: {enqueued} {request}")
    if enqueued.created:
        world.ledger.asked(enqueued.job_id, request)


def move_all(world: "World") -> list[tuple[str, Request]]:
    """An operator moves every site to another node; the jobs and what they were asked."""
    asked = []
    for project in world.projects.values():
        placements = {}
        for user in map(project.user, project.branches):
            deployed = world.store.deployment(user)
            others = [node for node in world.machines if deployed is None or node != deployed.node]
            placements[user] = world.faults.random.choice(others)
        request = Request(project.key, refs=None, placements=placements)
        job_id = world.store.enqueue(request).job_id
        world.faults.log(f"asked: {job_id} {request}")
        world.ledger.asked(job_id, request)
        asked.append((job_id, request))
    return asked


def _move_all(world: "World") -> None:
    if world.provider.up:
        move_all(world)


def _operator(world: "World") -> None:
    choose, chance = world.faults.choose, world.faults.random
    user, node = chance.choice(world.users), chance.choice(list(world.machines))
    kind = choose(4)

    def change(tree: Tree) -> Tree:
        if kind == 0 or tree.broken:
            return replace(tree, broken=not tree.broken)
        if kind == 1:
            world.ledger.placed_by_hand.add(user)
            settings = tree.settings
            placed = replace(settings, placements={**settings.placements, user: node})
            return replace(tree, settings=placed)
        return tree

    base = world.history.find(f"{choose(world.history.head.number + 1):040x}") if choose(3) == 0 else None
    if base is not None and not world.history.is_ancestor(base, world.history.head):
        base = None
    world.provider.commit_by_operator(change, base)


def _fault(world: "World") -> None:
    machine = _any(world)
    before = world.faults.scheduler.preemption
    world.faults.scheduler.preemption = _PREEMPTION_BEFORE_A_CRASH
    match world.faults.choose(10):
        case 0:
            world.activate(machine)
            machine.kill_activation()
        case 1:
            for job in machine.living_jobs:
                world.work_on(machine, job)
            machine.kill_jobs(*machine.living_jobs)
        case 2:
            world.follow(machine)
            machine.kill_comin()
        case 3 | 4 if machine.up:
            world.activate(machine)
            world.follow(machine)
            for job in machine.living_jobs:
                world.work_on(machine, job)
            world.faults.log(f"{machine.name}: off")
            machine.power_off()
        case 5 | 6 if not machine.cut:
            world.faults.log(f"{machine.name}: cut off")
            machine.cut = True
        case 7 | 8 | 9 if world.provider.up:
            world.verify()
            world.work()
            world.faults.log("provider: crash")
            world.provider.crash()
    world.faults.scheduler.preemption = before


def _interrupt(world: "World") -> None:
    """A live move is cut short between its base and its commit point."""
    machine = _any(world)
    before = world.faults.scheduler.preemption
    world.faults.scheduler.preemption = _PREEMPTION_BEFORE_A_CRASH
    for job in machine.living_jobs:
        snapshot = world.store.snapshot(job)
        if any(
            row.node == machine.name
            and row.action.op in ("sync", "handover")
            and row.pending
            and unmet(snapshot, row) is None
            for row in snapshot.rows
        ):
            world.work_on(machine, job)
            if job in machine.living_jobs:
                machine.kill_jobs(job)
    world.faults.scheduler.preemption = before


def _repair(world: "World") -> None:
    machine = _any(world)
    if not machine.up:
        world.faults.log(f"{machine.name}: boots")
        machine.boot()
        _check_sites(world)
    elif machine.cut:
        world.faults.log(f"{machine.name}: connected")
        machine.cut = False
    if not world.provider.up:
        world.faults.log("provider: starts")
        world.provider.start()


def _check_sites(world: "World") -> None:
    """A node that came back may not be a second one that takes writes."""
    for user in world.users:
        world.sites.check(user)


def _late(world: "World") -> None:
    world.network.deliver_late()


def _work(world: "World") -> None:
    world.work()


def _verify(world: "World") -> None:
    world.verify()


EVENTS: Sequence[tuple[float, Callable[["World"], None]]] = (
    (60, _node),
    (8, _comin),
    (10, _work),
    (8, _verify),
    (3, _write),
    (3, _request),
    (0.3, _operator),
    (2.5, _fault),
    (5, _repair),
    (0.5, _expiry),
    (0.6, _late),
)
"""Weights, and what happens."""

BUSY: Sequence[tuple[float, Callable[["World"], None]]] = ((40, _onward), (2, _move_all), (4, _interrupt))
"""What happens besides in some schedules."""
