# Moves whose restore cannot succeed for other causes than in `broken_target.py`: the target has no room for
# root's records, and what was backed up is not what is read.

from hostenv_scenarios import trap
from hostenv_scenarios.cluster import BACKUPS, FOLDER, Cluster
from hostenv_scenarios.failing import failing_move, move_at_last
from hostenv_scenarios.site import DRUPAL
from hostenv_scenarios.trial import Trials

SITE_BACKUPS = f"{BACKUPS}/{DRUPAL.user}"

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
trials = Trials(cluster)

with subtest("A provider, two nodes and a site"):
    cluster.set_up()
    cluster.add_site(DRUPAL)

room = "[78] MiB are free"
with failing_move(cluster, trials, "target has no room for root's records", "restore", room) as move:
    target = cluster.nodes[move.target]
    target.succeed("mkdir -p /var/lib/hostenv/git && mount -t tmpfs -o size=8M full /var/lib/hostenv/git")
    move.ask()
target.succeed("umount --lazy /var/lib/hostenv/git")
move_at_last(cluster, trials, "the target had no room")

with failing_move(cluster, trials, "snapshot is corrupted", "restore", "restic") as move:
    halted = trap.halt_in(cluster, move.target, "restore")
    move.ask()
    halted.wait()
    provider.succeed(
        f"cp -a {SITE_BACKUPS} {FOLDER}/backups",
        f"find {SITE_BACKUPS}/data -type f -exec"
        " dd status=none if=/dev/zero of={} bs=1 count=64 seek=16 conv=notrunc ';'",
    )
    trap.go_on(cluster, move.target)
provider.succeed(f"rm -rf {SITE_BACKUPS} && mv {FOLDER}/backups {SITE_BACKUPS}")
move_at_last(cluster, trials, "a snapshot was corrupted")
