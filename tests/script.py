# A live site moves from node-a to node-b because somebody pushed to Git.
#
# This is the testScript of the NixOS test (local-provider-migration.nix) and of the lab, unchanged: both
# drivers put `provider`, `node_a`, `node_b`, `start_all`, `subtest`, `retry`, `t` and `log` in scope. Read it
# from top to bottom; every `subtest` is one stage of the demo. Limits are seconds, given as positional
# integers because drivers of different years agree on those.

import json
import shlex
from contextlib import contextmanager

ORGANISATION_PROJECT = "demo__drupal"
ENVIRONMENT = "drupal-main-2855093"  # <project>-<environment>-<first 7 hex digits of the hash>
PROJECT_HASH = "28550931a7ff25f178b6ffc12b8cb3ad288935e40dc36f1e746aae10ca5c9632"
VIRTUAL_HOSTS = [f"{ENVIRONMENT}.demo.hostenv.test", "demo.hostenv.local"]
MARKER = "from-node-a"
NODES = {"node-a": node_a, "node-b": node_b}

SERVICE_SOCKET = "/run/hostenv-provider/hostenv-provider.sock"
PROVIDER_REPOSITORY = "/var/lib/hostenv-provider/git/provider.git"
NODE_REPOSITORIES = "/var/lib/hostenv-provider/git/nodes"
# Drupal writes to these whenever a page is read or its caches are rebuilt; they are not content.
VOLATILE_TABLES = ("cache", "watchdog", "sessions", "semaphore", "flood", "key_value", "history", "queue")
# Visitors may write to it at any time; what they were promised is compared, not how much it is.
NOTES_TABLE = "hostenv_demo_note"


@contextmanager
def explained(machine, *units):
    """Shows the last lines of the units' journals when the wait inside fails."""
    try:
        yield
    except Exception:
        for unit in units:
            _, lines = machine.execute(f"journalctl --no-pager --lines 30 --unit '{unit}' 2>&1 || true")
            log.warning(f"{machine.name}: last lines of {unit}:\n{lines}")
        raise


def quote(*words):
    return " ".join(shlex.quote(word) for word in words)


def as_environment(machine, command):
    """Runs a command in a login shell of the environment's own user."""
    return machine.succeed(quote("su", "-", ENVIRONMENT, "-c", command))


def service(path):
    """What provider-service answers on its own socket."""
    return json.loads(
        provider.succeed(quote("curl", "-fsS", "--unix-socket", SERVICE_SOCKET, f"http://service{path}"))
    )


def fire_webhook():
    """Sends what a Git host sends after a push, and returns the job that the push started."""
    push = json.dumps({"ref": "refs/heads/main"})
    answer = json.loads(
        provider.succeed(
            quote("curl", "-fsS", "-H", "Content-Type: application/json", "--data", push)
            + f" http://provider/webhook/{PROJECT_HASH}"
        )
    )
    t.assertTrue(answer["accepted"], answer)
    return answer["jobId"]


def follow(job_id, limit):
    """Waits for the verdict of a job, logging each action as it moves, and returns the job."""
    seen = {}

    def ended(last):
        job = service(f"/api/jobs/{job_id}")
        for row in job["actions"]:
            key = (row["node"], row["op"], row["user"])
            if seen.get(key) != row["status"]:
                seen[key] = row["status"]
                log.info(f"job {job_id[:8]}: {row['node']} {row['op']} {row['user']}: {row['status']}")
        if last:
            log.warning(f"job {job_id} is still {job['state']}: {json.dumps(job['actions'], indent=1)}")
        return job["state"] in ("succeeded", "failed", "superseded")

    with (
        explained(provider, "hostenv-provider.service"),
        explained(node_a, "comin.service", "hostenv-activate.service", "hostenv-job@*"),
        explained(node_b, "comin.service", "hostenv-activate.service", "hostenv-job@*"),
    ):
        retry(ended, limit)
        job = service(f"/api/jobs/{job_id}")
        t.assertEqual(job["state"], "succeeded", job["reason"])
    return job


def rows(job):
    """The action rows of a job as (node, op, status), sorted."""
    return sorted((row["node"], row["op"], row["status"]) for row in job["actions"])


def page(node, host):
    """The site's front page as a visitor of that node's front door gets it."""
    return provider.succeed(quote("curl", "-fsS", "-H", f"Host: {host}", f"http://{node}/"))


def write_note(node, note):
    """Posts a note to the site; the HTTP status tells whether it was accepted."""
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Host: {VIRTUAL_HOSTS[0]}"]
    return provider.succeed(
        quote(*command, "--data-urlencode", f"note={note}", f"http://{node}/notes")
    ).strip()


def table_checksums(machine):
    """One checksum for each table of the environment's database."""
    tables = as_environment(machine, "mysql -N -e 'SHOW TABLES'").split()
    content = [table for table in tables if not table.startswith((*VOLATILE_TABLES, NOTES_TABLE))]
    checksums = as_environment(machine, f"mysql -N -e 'CHECKSUM TABLE {', '.join(content)}'")
    # the first column carries the database's name, which is the same on both nodes
    return dict(line.split("\t") for line in checksums.splitlines())


def notes(machine):
    """The notes that the site accepted, oldest first."""
    return as_environment(machine, f"mysql -N -e 'SELECT note FROM {NOTES_TABLE} ORDER BY id'").splitlines()


def file_hashes(machine):
    """One hash for each public file of the environment."""
    listing = as_environment(
        machine,
        "cd ~/.local/share/files && find . -type f -not -path './php/*' -not -path './css/*' -not -path"
        " './js/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum",
    )
    hashes = {}
    for line in listing.splitlines():
        digest, path = line.split(maxsplit=1)
        hashes[path] = digest
    return hashes


def hand_over(name, value):
    """Leaves a JSON document in the run's output folder, for the report about the run."""
    # `execute` logs nothing, and this may be long
    status, _ = provider.execute(f"echo {shlex.quote(json.dumps(value, indent=1))} > /tmp/{name}.json")
    t.assertEqual(status, 0, f"{name} could not be written")
    provider.copy_from_machine(f"/tmp/{name}.json")


with subtest("Boot: a provider and two nodes in one network"):
    start_all()
    for machine in (provider, node_a, node_b):
        machine.wait_for_unit("multi-user.target", None, 300)

with subtest("Project: a customer's site in a Git repository"):
    provider.succeed(
        "cp -rL /etc/hostenv-demo/project /srv/project",
        "chmod -R u+w /srv/project",
        "chown -R hostenv-provider: /srv/project",
    )
    for command in (
        "init --quiet --initial-branch main",
        "add --all",
        "-c user.name=Demo -c user.email=demo@hostenv.test commit --quiet --message 'A site of our own'",
    ):
        provider.succeed(f"runuser -u hostenv-provider -- git -C /srv/project {command}")

with subtest("Provider: an empty control plane learns its nodes and its first project"):
    addresses = {name: provider.succeed(f"getent ahostsv4 {name}").split()[0] for name in NODES}
    nodes = " ".join(f"--node {name}={address}" for name, address in addresses.items())
    provider.succeed(f"hostenv-provider init --hostname demo.hostenv.test {nodes}")
    provider.succeed(
        f"hostenv-provider project add {ORGANISATION_PROJECT} git+file:///srv/project --open-webhook"
        " --host demo.hostenv.local"
    )
    provider.succeed("hostenv-provider plan")
    provider.succeed(
        "systemctl start hostenv-provider.service hostenv-git.socket hostenv-backups.service nginx.service"
    )
    with explained(provider, "hostenv-provider.service", "nginx.service"):
        provider.wait_for_unit("hostenv-provider.service", None, 120)
        provider.wait_for_open_unix_socket(SERVICE_SOCKET, False, 120)
        provider.wait_for_open_port(80, "localhost", 60)
        provider.wait_until_succeeds(f"curl -fsS --unix-socket {SERVICE_SOCKET} http://service/health", 60)

with subtest("Nodes: each gets its token, and comin follows the provider's repository"):
    provider.succeed("hostenv-provider comin-tokens")
    for name, machine in NODES.items():
        # `execute` logs nothing, so the token appears in no log
        status, token = provider.execute(f"hostenv-provider comin-tokens --show {name}")
        t.assertEqual(status, 0, f"no token for {name}")
        status, _ = machine.execute(
            f"umask 377 && echo {shlex.quote(token.strip())} > /etc/hostenv/node-token.new"
            " && mv /etc/hostenv/node-token.new /etc/hostenv/node-token"
        )
        t.assertEqual(status, 0, f"{name} did not take its token")
    for machine in NODES.values():
        with explained(machine, "comin.service"):
            machine.wait_until_succeeds("systemctl is-active comin.service", 120)
            machine.wait_for_file("/var/lib/hostenv/generation.json", 180)

with subtest("Deploy: a webhook brings the site to node-a"):
    first = follow(fire_webhook(), 900)
    t.assertEqual(rows(first), [("node-a", "activate", "success"), ("provider", "verify", "success")])
    uid = int(node_a.succeed(f"id -u {ENVIRONMENT}"))
    for unit in ("mysql.service", "phpfpm-drupal.service", "nginx.service", "hostenv-environment.target"):
        node_a.wait_for_unit(unit, ENVIRONMENT, 120)
    t.assertNotIn(MARKER, page("node-a", VIRTUAL_HOSTS[0]))

with subtest("Seed: articles, files and the marker, imported by the environment's own tools"):
    as_environment(node_a, "set -o pipefail; zcat /etc/hostenv-demo/seed/seed.sql.gz | mysql")
    as_environment(node_a, "cp -rL --no-preserve=mode /etc/hostenv-demo/seed/files/. ~/.local/share/files/")
    for host in VIRTUAL_HOSTS:
        t.assertIn(MARKER, page("node-a", host))
    t.assertEqual(write_note("node-a", "written before the move"), "201")
    tables_before, files_before = table_checksums(node_a), file_hashes(node_a)
    t.assertTrue(any(table.endswith(".hostenv_demo_marker") for table in tables_before), tables_before)
    t.assertTrue(files_before)
    notes_before = notes(node_a)
    t.assertIn("written before the move", notes_before)
    hand_over("checksums-before", {"tables": tables_before, "files": files_before})

with subtest("Move: the placement changes in Git, and a second webhook moves the site to node-b"):
    as_operator = (
        "runuser -u hostenv-provider -- git -c user.name=Operator -c user.email=operator@hostenv.test"
    )
    provider.succeed(f"{as_operator} clone --quiet {PROVIDER_REPOSITORY} /tmp/operator")
    settings = json.loads(provider.succeed("cat /tmp/operator/provider.json"))
    settings["environments"] = {ENVIRONMENT: {"node": "node-b"}}
    provider.succeed(
        f"echo {shlex.quote(json.dumps(settings, indent=2))} > /tmp/operator/provider.json",
        f"{as_operator} -C /tmp/operator commit --quiet --all --message 'Move the demo site to node-b'",
        f"{as_operator} -C /tmp/operator push --quiet",
    )
    second = follow(fire_webhook(), 1800)
    t.assertEqual(
        rows(second),
        [
            ("node-a", "backup", "success"),
            ("node-a", "deactivate", "success"),
            ("node-a", "handover", "success"),
            ("node-a", "sync", "success"),
            ("node-b", "activate", "success"),
            ("node-b", "restore", "success"),
            ("node-b", "sync", "success"),
            ("provider", "verify", "success"),
        ],
    )

with subtest("Proof: node-b serves the marker, and not one byte is different"):
    for host in VIRTUAL_HOSTS:
        t.assertIn(MARKER, page("node-b", host))
    tables_after, files_after = table_checksums(node_b), file_hashes(node_b)
    hand_over("checksums-after", {"tables": tables_after, "files": files_after})
    t.assertEqual(tables_after, tables_before)
    t.assertEqual(files_after, files_before)
    t.assertEqual(notes(node_b)[: len(notes_before)], notes_before)
    t.assertEqual(write_note("node-b", "written after the move"), "201")
    log.info(f"node-b serves: {MARKER}")

with subtest("Source: node-a stopped the environment and closed its virtual hosts"):
    node_a.fail(f"loginctl show-user {ENVIRONMENT} --property Linger | grep yes")
    node_a.wait_until_fails(f"pgrep --uid {uid}", 60)
    for host in VIRTUAL_HOSTS:
        # nginx closes the connection without an answer (444), which curl reports as 52
        status, _ = provider.execute(f"curl -s -o /dev/null -H 'Host: {host}' http://node-a/")
        t.assertEqual(status, 52, f"node-a still answers for {host}")

with subtest("Idempotence: a third webhook without changes does nothing"):
    heads = " && ".join(
        f"{as_operator} -C {repository} rev-parse main"
        for repository in (PROVIDER_REPOSITORY, *(f"{NODE_REPOSITORIES}/{name}.git" for name in NODES))
    )
    before = provider.succeed(heads)
    third = follow(fire_webhook(), 300)
    t.assertEqual(rows(third), [])
    t.assertEqual(provider.succeed(heads), before)
    for job in (first, second):
        t.assertEqual(service(f"/api/jobs/{job['jobId']}")["state"], "succeeded")
