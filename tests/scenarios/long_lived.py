# What lives longer than a request: a queue worker, whose every piece of work is a row and then a line in a
# file, something started by hand that ignores SIGTERM, and somebody's login session. A move loses nothing of
# it, neither node runs a worker while the site is frozen, and after a failed move it works on at the source.

from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.driver import quote
from hostenv_scenarios.site import DRUPAL
from hostenv_scenarios.trial import Trials

WORK = "$HOME/.local/share/private_files/work"
BY_HAND = "$HOME/.local/share/private_files/by-hand"
INSERT = "INSERT INTO shop_work () VALUES (); SELECT LAST_INSERT_ID()"
# It ends with each piece of work, as many queue workers do.
WORKER = (
    f"""\
[Service]
ExecStart=/bin/sh -c 'n=$("$HOME"/.local/bin/mysql -N -e "{INSERT}") && echo "$n" >>"{WORK}"'
Restart=always
RestartSec=100ms
[Unit]
StartLimitIntervalSec=0
[Install]
WantedBy=default.target
""".replace("$(", "$$(")
    .replace("$n", "$$n")
    .replace("$HOME", "%h")
)
STUBBORN = f"trap '' TERM; while sleep 0.1; do date >>{BY_HAND}; done"
SESSION = "<?php session_start(); $_SESSION += $_GET; echo $_SESSION['who'] ?? 'nobody';"

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
trials = Trials(cluster)


def customer(node, command):
    """Run a command as a person who has logged in as the site's user."""
    return cluster.as_environment(
        cluster.nodes[node], DRUPAL, f"export XDG_RUNTIME_DIR=/run/user/$(id -u); {command}"
    )


def wait_for(node, command, limit=60):
    """Wait until a command of the customer's succeeds."""
    login = quote("su", "-", DRUPAL.user, "-c", f"export XDG_RUNTIME_DIR=/run/user/$(id -u); {command}")
    cluster.nodes[node].wait_until_succeeds(login, limit)


def works_on(node):
    """Wait until both write again, or for the first time."""
    for file in (WORK, BY_HAND):
        wait_for(node, f"before=$(cat {file} | wc -l); sleep 2; test $(cat {file} | wc -l) -gt $before")


def state(node):
    """Rows and lines of the worker, and lines of what was started by hand."""
    rows = customer(node, "mysql -N -e 'SELECT n FROM shop_work ORDER BY n'").split()
    lines = customer(node, f"cat {WORK}").split()
    return rows, lines, customer(node, f"cat {BY_HAND}")


def stands_still(node):
    """Nothing of the customer's runs there, and nothing changes."""
    running = customer(
        node, "systemctl --user list-units --plain --no-legend --state=active,activating 'shop-*'"
    )
    t.assertEqual(running.strip(), "")
    before = state(node)
    customer(node, "sleep 3")
    t.assertEqual(state(node), before)
    return before


def logged_in(node, jar, query=""):
    """Who the site on that node takes the visitor for."""
    return provider.succeed(
        f"curl -fsS -b {jar} -c {jar} -H 'Host: {DRUPAL.host}' http://{node}/session.php{query}"
    ).strip()


with subtest("A provider, two nodes and a site with workers"):
    cluster.set_up()
    cluster.add_site(DRUPAL)
    provider.succeed(f"printf %s {quote(SESSION)} > {DRUPAL.folder}/web/session.php")
    cluster.commit(DRUPAL, "A page that knows who asks")
    cluster.demand(cluster.fire_webhook(DRUPAL), "succeeded", 300)
    customer("node-a", "mysql -e 'CREATE TABLE shop_work (n INT AUTO_INCREMENT PRIMARY KEY)'")
    customer(
        "node-a",
        f"printf %s {quote(WORKER)} > ~/.config/systemd/user/shop-worker.service"
        " && systemctl --user daemon-reload && systemctl --user enable --now shop-worker.service"
        f" && systemd-run --user --unit shop-by-hand sh -c {quote(STUBBORN)}",
    )
    works_on("node-a")
    t.assertEqual(logged_in("node-a", "/tmp/jar", "?who=ada"), "ada")

with trials.fault("workers: a move that is cancelled", {DRUPAL: "node-a"}) as trial:
    cluster.shut_front_door("node-b")
    job_id = trial.migrate(DRUPAL, "node-b")
    cluster.wait_for_action(job_id, "provider", "verify", "running")
    before = stands_still("node-a")
    node_a.crash()
    node_a.start()
    wait_for("node-a", "mysql -e 'SELECT 1'", 180)
    t.assertEqual(stands_still("node-a"), before)
    cluster.cancel(job_id)
    trial.demand(job_id, "failed")
    works_on("node-a")
cluster.open_front_door("node-b")

with trials.fault("workers: a move to where there are none", {DRUPAL: "node-b"}) as trial:
    trial.demand(trial.migrate(DRUPAL, "node-b"), "succeeded")
    rows, lines, by_hand = stands_still("node-b")
    # Nobody can log in there any more.
    left = [
        node_a.succeed(f"HOME=$(getent passwd {DRUPAL.user} | cut -d: -f6); cat {file}")
        for file in (WORK, BY_HAND)
    ]
    t.assertEqual((left[0].split(), left[1]), (lines, by_hand))
    # It may have been stopped between a row and its line.
    t.assertTrue(set(lines) <= set(rows) and len(rows) <= len(lines) + 1, (len(rows), len(lines)))
    t.assertEqual(logged_in("node-b", "/tmp/jar"), "ada")

with trials.fault("workers: a move to where there is one", {DRUPAL: "node-a"}) as trial:
    cluster.shut_front_door("node-a")
    job_id = trial.migrate(DRUPAL, "node-a")
    cluster.wait_for_action(job_id, "provider", "verify", "running")
    t.assertEqual(stands_still("node-a"), (rows, lines, by_hand))
    cluster.open_front_door("node-a")
    trial.demand(job_id, "succeeded")
    wait_for("node-a", f"test $(cat {WORK} | wc -l) -gt {len(lines)}")
