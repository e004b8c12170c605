# Moves that cannot succeed, one for each kind of action: the job fails with the action and the reason, the
# source serves reads and takes writes again, and the next webhook moves the site once the cause is gone.
# `more_broken_targets.py` has other causes of a restore that fails.

from hostenv_scenarios import trap
from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.failing import failing_move, move_at_last
from hostenv_scenarios.site import DRUPAL
from hostenv_scenarios.trial import Trials

HOME = f"/home/{DRUPAL.user}"

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
trials = Trials(cluster)

with subtest("A provider, two nodes and a site"):
    cluster.set_up()
    cluster.add_site(DRUPAL)

wrong = "never on this page.* 5 times in a row"
with failing_move(cluster, trials, "deploymentVerification fails", "verify", wrong) as move:
    provider.succeed(f'sed -i \'s/"hostenv demo"/"never on this page"/\' {DRUPAL.folder}/flake.nix')
    cluster.commit(DRUPAL, "A check that no page passes")
    move.push()
provider.succeed(f'sed -i \'s/"never on this page"/"hostenv demo"/\' {DRUPAL.folder}/flake.nix')
cluster.commit(DRUPAL, "A check that pages pass")
move_at_last(cluster, trials, "deploymentVerification failed")

with failing_move(cluster, trials, "target's MariaDB does not start", "sync", "mysql.service") as move:
    target = cluster.nodes[move.target]
    folder = "/run/systemd/user/mysql.service.d"
    broken = '[Service]\\nExecStart=\\nExecStart=/bin/sh -c "exit 1"\\nRestart=no\\n'
    target.succeed(f"mkdir -p {folder} && printf '{broken}' > {folder}/broken.conf")
    move.ask()
target.succeed(f"rm -r {folder}")
move_at_last(cluster, trials, "MariaDB did not start")

space = "[Nn]o space left|error 28"
with failing_move(cluster, trials, "target's disk is full in restore", "restore", space) as move:
    target = cluster.nodes[move.target]
    full = trap.halt_in(cluster, move.target, "restore")
    move.ask()
    full.wait()
    target.succeed(
        f"mount -t tmpfs -o size=24M,mode=0700,uid=$(id -u {DRUPAL.user}),gid=$(id -g {DRUPAL.user})"
        f" tmpfs {HOME}"
    )
    trap.go_on(cluster, move.target)
target.succeed(f"umount --lazy {HOME}")
move_at_last(cluster, trials, "the target's disk was full")

with failing_move(cluster, trials, "backup server is down", "backup", "restic|backup") as move:
    provider.succeed("systemctl stop hostenv-backups.service")
    move.ask()
provider.succeed("systemctl start hostenv-backups.service")
move_at_last(cluster, trials, "the backup server was down")
