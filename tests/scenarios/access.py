# Who may do what on real machines: every cell of the tables in `hostenv_scenarios.access`, where processes of
# tenants run, a token that is rotated, and a search for secrets in every place where none belongs.

import json
import re
import shlex

from hostenv_scenarios.access import (
    FROM_THE_NETWORK,
    OF_A_FORMER_NODE,
    OF_BACKUPS,
    ON_A_NODE,
    ON_THE_PROVIDER,
)
from hostenv_scenarios.cluster import SOCKET, Cluster
from hostenv_scenarios.site import DRUPAL, SECOND
from hostenv_scenarios.units import OF_A_NODE, Promise, broken, condition

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
TOKEN, NO_FILE = "/etc/hostenv/node-token", "/dev/null"
SEEN = "/run/hostenv-scenarios/arguments"
GROUPS = "/run/hostenv-scenarios/groups"
# Leaves a child that holds none of its streams, has left its group and ignores the signal to end; goes on
# itself for as long as its user wishes.
DRUSH = """<?php
exec("setsid sh -c 'trap \\"\\" TERM; exec sleep 86399' </dev/null >/dev/null 2>&1 &");
touch(getenv('HOME') . '/drush-ran');
while (file_exists(getenv('HOME') . '/drush-waits')) { usleep(100000); clearstatcache(); }
"""
THIRD = """{
  outputs = _: {
    lib.hostenv = rec {
      x86_64-linux.environments.main = { type = "production"; application.name = "php"; };
      aarch64-linux = x86_64-linux;
    };
  };
}"""
EXPOSURE = {
    provider: {
        "hostenv-provider": 30,
        "hostenv-git": 15,
        "hostenv-backups": 15,
    },
    node_a: {"hostenv-activate": 28, "hostenv-job@": 30, "hostenv-runtime": 20, "hostenv-token": 15},
}


def try_all(table, machine_of, run_as, values_of):
    """Try every cell of a table; `machine_of` and `values_of` are by column, `run_as` makes the command."""
    wrong = []
    for column, row, may in table.cells():
        command = row.command.format_map(values_of(column))
        # `execute` logs nothing, so what is read appears in no log
        status, _ = machine_of(column).execute(run_as(column, f"{{ {command}; }} >/dev/null 2>&1"))
        if (status == 0) != may:
            wrong.append(f"{table.who[column]}: {row.what}: {'denied' if may else 'possible'}")
    log.info(f"{table.title}: {len(table.cells())} cells tried")
    t.assertEqual(wrong, [])


def as_user(user, command):
    return command if user == "root" else f"runuser -u {user} -- sh -c {shlex.quote(command)}"


def watch(machine):
    """Write down the arguments of all processes; not while a driver's own command holds a secret."""
    program = cluster.install(machine, "arguments")
    machine.succeed(f"systemd-run --quiet --unit watch-arguments --service-type exec {program} {SEEN}")


def watch_groups(machine):
    program = cluster.install(machine, "control_groups")
    machine.succeed(f"systemd-run --quiet --unit watch-groups --service-type exec {program} {GROUPS}")


def left_by(site):
    """The processes that the site's program left on its node."""
    return node_a.execute(f"pgrep -u {site.user} -fx 'sleep 86399'")[1].split()


def unit_of(job_id):
    return f"hostenv-job@{job_id}.service"


def result_of(unit):
    """`timeout` when something in its control group did not end."""
    return node_a.succeed(f"systemctl show --property=Result --value {unit}").strip()


def ask(path):
    return json.loads(provider.succeed(f"curl -fsS --unix-socket {SOCKET} 'http://service{path}'"))


with subtest("A provider, two nodes and two sites; somebody watches the arguments of all processes"):
    cluster.set_up()
    for machine in (provider, node_a, node_b):
        watch(machine)
    for machine in (node_a, node_b):
        watch_groups(machine)
    for site in (DRUPAL, SECOND):
        cluster.add_site(site)
    # an own secret beside those that are made
    provider.execute(
        "head -c 32 /dev/urandom | base64 -w0 | hostenv-provider secrets set demo__drupal/main API_KEY"
    )
    # and a project whose webhook has a secret
    provider.succeed(
        "mkdir /srv/third",
        f"echo {shlex.quote(THIRD)} > /srv/third/flake.nix",
        "chown -R hostenv-provider: /srv/third",
        "runuser -u hostenv-provider -- sh -ec 'cd /srv/third; git init --quiet --initial-branch main;"
        " git add --all; git -c user.name=x -c user.email=x@localhost commit --quiet --message x'",
        "hostenv-provider project add demo__third git+file:///srv/third > /dev/null",
    )
    cluster.commit(DRUPAL, "A release that gets the secret")
    job = cluster.demand(cluster.fire_webhook(DRUPAL), "succeeded", 300)
    commit = json.loads(node_a.succeed("cat /var/lib/hostenv/generation.json"))["commit"]

with subtest("systemd makes of the units what they promise"):
    t.assertEqual(broken(node_a, OF_A_NODE), [])
    t.assertEqual(condition(node_a, "comin.service", "ConditionFileNotEmpty"), TOKEN)
    # a slice of nobody, which systemd would end at once
    t.assertEqual(broken(node_a, (Promise("user-1999.slice", "StopWhenUnneeded", "=no"),)), [])

with subtest("The units run as hardened as they are written"):
    for machine, units in EXPOSURE.items():
        for unit, most in units.items():
            machine.succeed(f"systemd-analyze security --no-pager --threshold={most} {unit}.service")

with subtest("What a release starts ends with the action, and delays nobody"):
    step = f"hostenv-step-{node_a.succeed(f'id -u {DRUPAL.user}').strip()}.service"
    path = f"{DRUPAL.folder}/web/vendor/bin"
    provider.succeed(f"mkdir -p {path}", f"printf %s {shlex.quote(DRUSH)} > {path}/drush")
    cluster.commit(DRUPAL, "A release with a program of its own")
    job_id = cluster.fire_webhook(DRUPAL)
    cluster.demand(job_id, "succeeded", 300)
    node_a.succeed(f"test -e ~{DRUPAL.user}/drush-ran")
    t.assertEqual(left_by(DRUPAL), [])
    node_a.wait_until_succeeds(f"test $(systemctl is-active {unit_of(job_id)}) = inactive", 120)
    t.assertEqual(result_of(unit_of(job_id)), "success")
    cluster.commit(SECOND, "The neighbour works on")
    cluster.demand(cluster.fire_webhook(SECOND), "succeeded", 300)

with subtest("It ends with who asked for it, too"):
    cluster.as_environment(node_a, DRUPAL, "rm drush-ran; touch drush-waits")
    cluster.commit(DRUPAL, "A release whose program does not end")
    waiting = cluster.fire_webhook(DRUPAL)
    node_a.wait_until_succeeds(f"test -e ~{DRUPAL.user}/drush-ran", 300)
    t.assertEqual(len(left_by(DRUPAL)), 1)
    node_a.succeed(f"systemd-analyze security --no-pager --threshold=25 {step}")
    # SIGKILL: nothing of it outlives its own answer
    t.assertEqual(broken(node_a, (Promise(step, "KillSignal", "=9"),)), [])
    for end in ("kill --kill-whom=main --signal=KILL", "stop"):
        node_a.wait_until_succeeds(f"test -e ~{DRUPAL.user}/drush-ran", 300)
        cluster.as_environment(node_a, DRUPAL, "rm drush-ran")
        # so that nobody starts it again before it was looked at
        node_a.succeed("systemctl stop hostenv-activate.timer", f"systemctl {end} {unit_of(waiting)}")
        node_a.wait_until_succeeds(f"test $(systemctl is-active {unit_of(waiting)}) = failed", 120)
        t.assertEqual(result_of(unit_of(waiting)), "signal")
        t.assertEqual(left_by(DRUPAL), [])
        node_a.succeed("systemctl start hostenv-activate.timer hostenv-activate.service")
    cluster.as_environment(node_a, DRUPAL, "rm drush-waits")
    cluster.demand(waiting, "succeeded", 300)

with subtest("nginx may open as many files as it has connections"):
    for machine in (provider, node_a, node_b):
        # Without a privilege that containers lack nobody exceeds what the host gave the machine.
        allowed = machine.succeed("awk '/^Max open files/ { print $5 }' /proc/1/limits")
        opened = machine.succeed("awk '/^Max open files/ { print $4 }' /proc/$(pgrep -n -x nginx)/limits")
        t.assertEqual(int(opened), min(65536, int(allowed)))

with subtest("On a node"):
    front = node_a.succeed(
        "ps -o user= -C nginx | sort -u | grep -v root | grep -x 'www-data\\|nginx'"
    ).strip()
    people = (DRUPAL.user, SECOND.user, front, "root")
    values = {
        "user": DRUPAL.user,
        "home": f"/home/{DRUPAL.user}",
        "run": f"/run/hostenv/user/{DRUPAL.user}",
        "uid": node_a.succeed(f"id -u {DRUPAL.user}").strip(),
        "pid": node_a.succeed(f"pgrep -o -u {DRUPAL.user} -f mariadbd").strip(),
        "token": TOKEN,
        "mariadb": node_a.succeed("command -v mariadb").strip(),
    }
    try_all(
        ON_A_NODE,
        lambda _: node_a,
        lambda column, command: as_user(people[column], command),
        lambda _: values,
    )

with subtest("On the provider"):
    front = provider.succeed(
        "ps -o user= -C nginx | sort -u | grep -v root | grep -x 'www-data\\|nginx'"
    ).strip()
    accounts = ("root", "hostenv-provider", front, "nobody")
    try_all(
        ON_THE_PROVIDER,
        lambda _: provider,
        lambda column, command: as_user(accounts[column], command),
        lambda _: {"user": DRUPAL.user},
    )

with subtest("Over the network"):
    for machine in (node_a, node_b):
        machine.succeed(
            "git init --quiet /tmp/clone && git -C /tmp/clone -c user.name=x -c user.email=x@localhost"
            " commit --quiet --allow-empty --message x"
        )
    callers = (("node-a", node_a, TOKEN), ("node-b", node_b, TOKEN), ("node-a", node_b, NO_FILE))

    def values_of(column):
        node, _, token = callers[column]
        return {
            "node": node,
            "other": "node-b" if node == "node-a" else "node-a",
            "token": token,
            "sha": commit,
            "slice": part,
            "job": job["jobId"],
            "user": DRUPAL.user,
            "project": DRUPAL.project,
        }

    part = node_a.succeed("sha256sum /var/lib/hostenv/slice.json").split()[0]
    heads = "; ".join(
        f"git --git-dir /var/lib/hostenv-provider/git/{name}.git rev-parse main"
        for name in ("provider", "nodes/node-a", "nodes/node-b")
    )
    before_pushes = provider.succeed(heads)
    before = ask("/api/jobs")
    try_all(FROM_THE_NETWORK, lambda column: callers[column][1], lambda _, command: command, values_of)
    t.assertEqual(ask("/api/jobs"), before)
    t.assertEqual(provider.succeed(heads), before_pushes)

CRONTAB = f"/var/spool/cron/crontabs/{DRUPAL.user}"


def leave_something(machine):
    """What a site's people may have on a node: keys, a crontab, a program that hears no signal but one."""
    machine.succeed(
        f"install -D -m 600 /dev/null {CRONTAB}",
        f"install -D -o {DRUPAL.user} -m 600 /dev/null /home/{DRUPAL.user}/.ssh/authorized_keys",
        f"systemd-run --quiet --uid {DRUPAL.user} --slice user-$(id -u {DRUPAL.user}).slice"
        " sh -c 'trap \"\" TERM HUP; while :; do sleep 9; done'",
    )


with subtest("A move, so that there are backups and a former node"):
    leave_something(node_a)
    node_a.succeed(f"cp -p /home/{DRUPAL.user}/.config/hostenv/backup.env /run/former.env")
    cluster.demand(cluster.migrate(DRUPAL, "node-b"), "succeeded", 300)
    leave_something(node_b)

with subtest("A former node"):
    # the account that the move itself used is the one that it had last
    partners = (
        ("node-b", node_b, f"/home/{DRUPAL.user}/.config/hostenv/backup.env"),
        ("node-a", node_a, "/run/former.env"),
    )
    try_all(
        OF_A_FORMER_NODE,
        lambda column: partners[column][1],
        lambda _, command: command,
        lambda column: {
            "node": partners[column][0],
            "account": partners[column][2],
            "token": TOKEN,
            "user": DRUPAL.user,
            "home": f"/home/{DRUPAL.user}",
            "project": DRUPAL.project,
        },
    )
    node_a.succeed("rm /run/former.env")

with subtest("Backups"):
    owners = (
        (node_b, f"/home/{DRUPAL.user}/.config/hostenv/backup.env"),
        (node_a, f"/home/{SECOND.user}/.config/hostenv/backup.env"),
        (node_a, NO_FILE),
    )
    try_all(
        OF_BACKUPS,
        lambda column: owners[column][0],
        lambda _, command: command,
        lambda column: {"account": owners[column][1], "user": DRUPAL.user},
    )

with subtest("A token is rotated: the service goes on, comin starts again, the old token ends"):
    pending = f"http://provider/api/deploy-intents/pending?sha={commit}&node=node-b"
    call = (
        'printf \'header = "Authorization: Bearer %s"\\n\' "$(cat {})" | curl -s -K - -o /dev/null'
        f" -w '%{{{{http_code}}}}' '{pending}'"
    )
    service = provider.succeed("systemctl show --property MainPID --value hostenv-provider.service")
    comin = node_b.succeed("systemctl show --property MainPID --value comin.service").strip()
    node_b.succeed(f"cp -p {TOKEN} /run/old-token")
    provider.succeed("hostenv-provider comin-tokens --rotate node-b")
    t.assertEqual(node_b.succeed(call.format("/run/old-token")).strip(), "200")
    _, token = provider.execute("hostenv-provider comin-tokens --show node-b")
    node_b.succeed("systemctl stop watch-arguments.service")
    node_b.execute(f"umask 377 && echo {token.strip()} > {TOKEN}.new && mv {TOKEN}.new {TOKEN}")
    watch(node_b)
    node_b.wait_until_succeeds(
        f"p=$(systemctl show --property MainPID --value comin.service); test $p != 0 && test $p != {comin}",
        60,
    )
    node_b.wait_until_succeeds(f'test "$({call.format("/run/old-token")})" = 403', 60)
    t.assertEqual(node_b.succeed(call.format(TOKEN)).strip(), "200")
    t.assertEqual(
        provider.succeed("systemctl show --property MainPID --value hostenv-provider.service"), service
    )
    # what the new token brings: a job over both nodes
    cluster.demand(cluster.migrate(DRUPAL, "node-a"), "succeeded", 300)
    # people log in where it came back to, and no longer where it was
    node_a.succeed(f"su - {DRUPAL.user} -c true")
    node_b.fail(f"su - {DRUPAL.user} -c true")

with subtest("All accounts of backups are replaced, and the site moves again"):
    provider.succeed("hostenv-provider secrets rotate backups")
    cluster.demand(cluster.migrate(DRUPAL, "node-b"), "succeeded", 300)

with subtest("No process of a tenant was outside its user's slice"):
    for machine in (node_a, node_b):
        machine.succeed("systemctl stop watch-groups.service")
        seen = [line.split(" ", 1) for line in machine.succeed(f"cat {GROUPS}").splitlines()]
        for uid in {uid for uid, _ in seen}:
            # but for what this script itself ran as that user
            left = [
                group
                for user, group in seen
                if user == uid and ".service" in group and not group.endswith("/backdoor.service")
            ]
            t.assertTrue(any(f"/hostenv-step-{uid}.service" in group for group in left), left)
            t.assertEqual([group for group in left if f"/user-{uid}.slice/" not in group], [])

with subtest("No secret stands where none belongs"):
    for machine in (provider, node_a, node_b):
        machine.succeed("systemctl stop watch-arguments.service")
    _, text = provider.execute(
        "cd /var/lib/hostenv-provider && cat tokens.json tokens.previous.json"
        " secrets/*.json backup-accounts/*.json webhooks/*.json"
    )
    _, old = node_b.execute("cat /run/old-token; rm /run/old-token")
    secrets = {old.strip(), *re.findall(r'"([0-9a-f]{64}|[A-Za-z0-9+/]{43}=)"', text)}
    # two tokens and an old one, four secrets each of two environments, one own, one of a webhook
    t.assertGreaterEqual(len(secrets), 11)
    patterns = "\n".join(sorted(secrets))
    places = {
        "process arguments": f"cat {SEEN}",
        "journal": "journalctl --no-pager --output export",
        "log files": "find /var/log -type f -not -path '/var/log/journal/*' -exec cat {} +",
        "Nix store": "find /nix/store -maxdepth 1"
        " \\( -name '*hostenv*' -o -name '*-source' -o -name '*.drv' \\)"
        " -exec grep -rhF -f /run/patterns {} +",
        "state that everybody reads": "find /var/lib/hostenv /run/hostenv -type f -perm -004 -exec cat {} +",
    }
    on_provider = {
        **places,
        "Git": "for r in /var/lib/hostenv-provider/git/*.git; do"
        " git -c safe.directory='*' --git-dir $r cat-file --batch-all-objects --batch; done",
        "job database": "cat /var/lib/hostenv-provider/provider.sqlite3*",
    }
    for machine, searched in ((provider, on_provider), (node_a, places), (node_b, places)):
        machine.execute(f"umask 077; echo {shlex.quote(patterns)} > /run/patterns")
        for place, command in searched.items():
            _, found = machine.execute(
                f"({command}) 2>/dev/null | {{ grep -aF -f /run/patterns || true; }} | wc -l"
            )
            t.assertEqual(found.strip(), "0", f"{machine.name}: a secret in: {place}")
    # the search finds what is there
    provider.succeed("grep -qaF -f /run/patterns /var/lib/hostenv-provider/tokens.json")
    for machine, ours in ((provider, "hostenv-provider"), (node_a, "hostenv-node"), (node_b, "hostenv-node")):
        machine.succeed(f"grep -qaF {ours} {SEEN}")
    for machine in (node_a, node_b):
        machine.succeed(f"grep -qaF -f /run/patterns {TOKEN}")
    for machine in (provider, node_a, node_b):
        machine.succeed("rm /run/patterns")

with subtest("The former node was taken over: all that it had is changed, and the other node goes on"):
    listed = provider.succeed("hostenv-provider node-compromised node-a --hash-salts")
    t.assertIn(f"{DRUPAL.user}: had its secrets from", listed)
    t.assertIn("API_KEY", listed)
    t.assertEqual(node_a.succeed(call.format(TOKEN).replace("node=node-b", "node=node-a")).strip(), "403")
    cluster.commit(DRUPAL, "A release after the change")
    cluster.demand(cluster.fire_webhook(DRUPAL), "succeeded", 300)
