# Moves that cannot succeed: the job fails with the action and the reason, the source serves reads and takes
# writes again, and the next webhook moves the site once the cause is gone.

from contextlib import contextmanager

from hostenv_scenarios import trap
from hostenv_scenarios.cluster import BACKUPS, FOLDER, Cluster
from hostenv_scenarios.site import DRUPAL
from hostenv_scenarios.trial import Trials

OTHER = {"node-a": "node-b", "node-b": "node-a"}
SITE_BACKUPS = f"{BACKUPS}/{DRUPAL.user}"
HOME = f"/home/{DRUPAL.user}"

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
trials = Trials(cluster)


@contextmanager
def failing_move(fault, action, reason):
    """The block arranges the fault and asks for the move, to the node that it is given; the move fails.

    A move that is pushed brings what the project's repository holds now, another one what is deployed.
    """
    source = cluster.deployed(DRUPAL)
    target = OTHER[source]
    with trials.fault(fault, {DRUPAL: source}) as trial:
        asked = []

        def move(pushed=False):
            if pushed:
                cluster.place(DRUPAL, target)
            asked.append(trial.fire_webhook(DRUPAL) if pushed else trial.migrate(DRUPAL, target))

        yield target, move
        job = trial.demand(asked[0], "failed", 600)
        t.assertIn(action, job["reason"])
        t.assertRegex(job["reason"], reason)


def move_at_last(cause):
    """The next webhook moves the site to where the failed job should have brought it."""
    target = OTHER[cluster.deployed(DRUPAL)]
    with trials.fault(f"none: the next webhook after {cause}", {DRUPAL: target}) as trial:
        trial.demand(trial.fire_webhook(DRUPAL), "succeeded")


with subtest("A provider, two nodes and a site"):
    cluster.set_up()
    cluster.add_site(DRUPAL)

wrong = "never on this page.* 5 times in a row"
with failing_move("deploymentVerification fails", "verify", wrong) as (target, move):
    provider.succeed(f'sed -i \'s/"hostenv demo"/"never on this page"/\' {DRUPAL.folder}/flake.nix')
    cluster.commit(DRUPAL, "A check that no page passes")
    move(pushed=True)
provider.succeed(f'sed -i \'s/"never on this page"/"hostenv demo"/\' {DRUPAL.folder}/flake.nix')
cluster.commit(DRUPAL, "A check that pages pass")
move_at_last("deploymentVerification failed")

with failing_move("target's MariaDB does not start", "activate", "mysql.service") as (target, move):
    folder = "/run/systemd/user/mysql.service.d"
    broken = '[Service]\\nExecStart=\\nExecStart=/bin/sh -c "exit 1"\\nRestart=no\\n'
    cluster.nodes[target].succeed(f"mkdir -p {folder} && printf '{broken}' > {folder}/broken.conf")
    move()
cluster.nodes[target].succeed(f"rm -r {folder}")
move_at_last("MariaDB did not start")

with failing_move("target's disk is full in restore", "restore", "[Nn]o space left|error 28") as (
    target,
    move,
):
    full = trap.halt_in(cluster, target, "restore")
    move()
    full.wait()
    cluster.nodes[target].succeed(
        f"mount -t tmpfs -o size=24M,mode=0700,uid=$(id -u {DRUPAL.user}),gid=$(id -g {DRUPAL.user})"
        f" tmpfs {HOME}"
    )
    trap.go_on(cluster, target)
cluster.nodes[target].succeed(f"umount --lazy {HOME}")
move_at_last("the target's disk was full")

with failing_move("target has no room for root's records", "restore", "[78] MiB are free") as (target, move):
    cluster.nodes[target].succeed(
        "mkdir -p /var/lib/hostenv/git && mount -t tmpfs -o size=8M full /var/lib/hostenv/git"
    )
    move()
cluster.nodes[target].succeed("umount --lazy /var/lib/hostenv/git")
move_at_last("the target had no room")

with failing_move("snapshot is corrupted", "restore", "restic") as (target, move):
    halted = trap.halt_in(cluster, target, "restore")
    move()
    halted.wait()
    provider.succeed(
        f"cp -a {SITE_BACKUPS} {FOLDER}/backups",
        f"find {SITE_BACKUPS}/data -type f -exec"
        " dd status=none if=/dev/zero of={} bs=1 count=64 seek=16 conv=notrunc ';'",
    )
    trap.go_on(cluster, target)
provider.succeed(f"rm -rf {SITE_BACKUPS} && mv {FOLDER}/backups {SITE_BACKUPS}")
move_at_last("a snapshot was corrupted")

with failing_move("backup server is down", "backup", "restic|backup") as (target, move):
    provider.succeed("systemctl stop hostenv-backups.service")
    move()
provider.succeed("systemctl start hostenv-backups.service")
move_at_last("the backup server was down")
