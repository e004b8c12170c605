# Hostile homes through push, move there and back, roll-back, several projects at once and on both nodes.
# Beside them a project that did nothing, whose jobs wait for none of theirs. HOSTENV_HOMES says how many,
# HOSTENV_HOMES_SEED which.

import os

from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.driver import ScenarioFailed, quote
from hostenv_scenarios.hostile import MENDED, homes
from hostenv_scenarios.site import Site

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
NEUTRAL = Site("neutral")
MADE = homes(int(os.environ.get("HOSTENV_HOMES_SEED", "1")), int(os.environ.get("HOSTENV_HOMES", "8")))
HOSTILE = [
    Site(name) for name in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")[: len(MADE)]
]
verdicts: dict[tuple[str, str], list[int]] = {}


def as_root(node, site, command):
    home = f'"$(getent passwd {site.user} | cut -d: -f6)"'
    cluster.nodes[node].succeed(f"cd {home} && sh -c {quote(command)}")


def spoil(site, home):
    node = cluster.deployed(site)
    for deed in home.deeds:
        if deed.by_root:
            as_root(node, site, deed.command)
        else:
            cluster.as_environment(cluster.nodes[node], site, deed.command)


def mend(site):
    for name, machine in cluster.nodes.items():
        if machine.execute(f"getent passwd {site.user} && test -d ~{site.user}/.local/share")[0] == 0:
            as_root(name, site, MENDED)


def recover(sites):
    """Mend the homes and deploy: a job waits for what an earlier one could not do, as long as that lasts."""
    for site in sites:
        mend(site)
    release_all(sites, "A release into a home that was mended")
    for site in sites:
        cluster.as_environment(
            cluster.nodes[cluster.deployed(site)], site, "chmod u+rwx ~/.local/share/files"
        )


def release_all(sites, message):
    job_ids = []
    for site in sites:
        cluster.commit(site, message)
        job_ids.append(cluster.fire_webhook(site))
    for job_id in job_ids:
        cluster.demand(job_id, "succeeded", 300)


def neutral_waits_for_nobody():
    cluster.commit(NEUTRAL, "The neighbour works on")
    cluster.demand(cluster.fire_webhook(NEUTRAL), "succeeded", 300)


def release(site, node):
    return cluster.nodes[node].succeed(f"readlink ~{site.user}/.local/share/app/current").split("-")[0]


def judge(step, site, home, job_id, before, wished):
    """The verdict is true: what it says is so, and nothing stays frozen."""
    job = cluster.verdict(job_id, 600)
    state, reason = job["state"], str(job["reason"] or "")
    verdicts.setdefault((step, state), []).append(home.number)
    log.info(f"{home}: {step} of {site.user}: {state}: {reason}")
    # What fails after the commit point changes nothing of where the site is.
    verified = any((row["op"], row["status"]) == ("verify", "success") for row in job["actions"])
    # Each job after a move that failed tries it again.
    activated = [row["node"] for row in job["actions"] if row["op"] == "activate"]
    there = activated[0] if verified and activated else before
    if state not in ("succeeded", "failed") or (state == "failed" and not reason):
        raise ScenarioFailed(f"{home}: {step} is {state} without a reason: {job}")
    if state == "succeeded" and not verified:
        raise ScenarioFailed(f"{home}: {step} succeeded, but nothing was verified: {job}")
    if state == "succeeded" and wished not in (None, there):
        raise ScenarioFailed(f"{home}: {step} to {wished} succeeded, but {there} has the site: {job}")
    try:
        # What a failed move began elsewhere is withdrawn after the verdict.
        retry(lambda _final: cluster.serving(site) == [there], 120)
    except Exception as error:
        serving = cluster.serving(site)
        raise ScenarioFailed(f"{home}: {step}: {state}, but served by {serving}: {reason}") from error
    if step == "push" and state == "succeeded":
        head = provider.succeed(f"git -c safe.directory='*' -C {site.folder} rev-parse HEAD").strip()
        if release(site, there) != head:
            raise ScenarioFailed(f"{home}: the push of {head} succeeded, but {release(site, there)} is there")
    if step == "move" and home.refused and not any(words in reason for words in home.refused):
        raise ScenarioFailed(f"{home}: the move is {state}, not refused: {reason}")
    cluster.nodes[there].wait_until_succeeds(f"! test -e /var/lib/hostenv/freeze/{site.user}", 120)


def step(name, pairs, begin):
    """Begin it for all of them, and see the neighbour served meanwhile."""
    began = []
    for site, home in pairs:
        before = cluster.deployed(site)
        job_id, wished = begin(site, before)
        began.append((site, home, job_id, before, wished))
    neutral_waits_for_nobody()
    for site, home, job_id, before, wished in began:
        judge(name, site, home, job_id, before, wished)


def push(site, _node):
    cluster.commit(site, "A release into a hostile home")
    return cluster.fire_webhook(site), None


def move(site, node):
    target = "node-b" if node == "node-a" else "node-a"
    return cluster.migrate(site, target), target


def roll_back(site, _node):
    return provider.succeed(f"hostenv-provider rollback {site.user}").strip(), None


with subtest("A provider, two nodes, and projects"):
    cluster.set_up()
    for site in (NEUTRAL, *HOSTILE):
        cluster.add_site(site)
    # So that there is a release to go back to, whatever becomes of the first push.
    release_all(HOSTILE, "A second release")
    moves = [cluster.migrate(site, "node-b") for site in HOSTILE[::2]]
    for job_id in moves:
        cluster.demand(job_id, "succeeded", 300)

for begin in range(0, len(MADE), len(HOSTILE)):
    pairs = list(zip(HOSTILE, MADE[begin : begin + len(HOSTILE)], strict=False))
    with subtest("; ".join(str(home) for _, home in pairs)):
        for site, home in pairs:
            spoil(site, home)
        step("push", pairs, push)
        recover([site for site, _ in pairs])
        for site, home in pairs:
            spoil(site, home)
        step("move", pairs, move)
        step("move back", pairs, move)
        step("roll-back", pairs, roll_back)
        recover([site for site, _ in pairs])

for (name, state), numbers in sorted(verdicts.items()):
    log.info(f"{name}: {len(numbers)} {state}")
