# What evaluation cannot show of the machines: that they boot without complaint, who owns what, what listens,
# how far the units are locked in, and what a reboot keeps.

import json
import re

NODES = (node_a, node_b)
MACHINES = (provider, *NODES)
TOKEN = "/etc/hostenv/node-token"
# by `execute`, which logs nothing
SHOW_TOKEN = "hostenv-provider comin-tokens --show node-a"

# path → mode, owner, group
PROVIDER_FILES = {
    "/etc/hostenv": "755 root root",
    "/run/hostenv-evaluate": "755 root root",
    "/run/hostenv-evaluate.sock": "600 hostenv-provider hostenv-provider",
    "/run/hostenv-provider/hostenv-provider.sock": "660 hostenv-provider hostenv-provider",
    "/var/lib/hostenv-provider": "700 hostenv-provider hostenv-provider",
    "/var/lib/hostenv-provider/backups": "700 hostenv-provider hostenv-provider",
    "/var/lib/hostenv-provider/git": "750 hostenv-provider hostenv-provider",
}
NODE_FILES = {
    "/etc/hostenv": "755 root root",
    "/run/hostenv": "755 root root",
    "/var/lib/hostenv": "755 root root",
    "/var/lib/hostenv/environments": "700 root root",
    "/var/lib/hostenv/freeze": "711 root root",
    "/var/lib/hostenv/git": "700 root root",
    "/var/lib/hostenv/jobs": "700 root root",
    "/var/lib/hostenv/locks": "700 root root",
    "/var/lib/hostenv/nginx": "750 root nginx",
    "/var/lib/hostenv/spool": "700 root root",
    "/var/lib/private": "700 root root",
    "/var/lib/private/comin": "755 root root",
}
PROVIDER_UNITS = (
    "nginx.service",
    "hostenv-provider.service",
    "hostenv-backups.service",
    "hostenv-evaluate.socket",
    "hostenv-git.socket",
)
NODE_UNITS = ("nginx.service", "hostenv-runtime.service", "hostenv-activate.timer", "hostenv-token.path")
# the most that `systemd-analyze security` may say, in tenths
EXPOSURE = {
    provider: {
        "hostenv-provider": 30,
        "hostenv-git": 15,
        "hostenv-backups": 15,
        "hostenv-evaluate@": 15,
    },
    node_a: {"hostenv-activate": 28, "hostenv-job@": 30, "hostenv-runtime": 20, "hostenv-token": 15},
}


def owners(machine, wanted):
    paths = " ".join(wanted)
    found = machine.succeed(f"stat -c '%n %a %U %G' {paths}").splitlines()
    t.assertEqual(dict(line.split(" ", 1) for line in found), wanted)


def open_ports(machine):
    """The TCP ports on which the machine answers others."""
    lines = machine.succeed("ss --no-header --listening --tcp --numeric").splitlines()
    addresses = [line.split()[3].rsplit(":", 1) for line in lines]
    return {int(port) for address, port in addresses if not re.match(r"127\.|\[::1\]", address)}


def settings(machine, name):
    return json.loads(machine.succeed(f"cat /etc/hostenv/{name}.json"))


def main_process(unit):
    """A word of the shell: the process of a unit."""
    return f"$(systemctl show --property MainPID --value {unit})"


def finds(machine, unit, *tools):
    """That the unit's process has the tools on its PATH."""
    path = f"$(tr '\\0' '\\n' < /proc/{main_process(unit)}/environ | sed -n s/^PATH=//p)"
    machine.succeed(*(f"PATH={path} command -v {tool}" for tool in tools))


def complaints(machine):
    """What is in the journal about ours that somebody should read."""
    journal = "journalctl --no-pager --boot --priority warning --output cat"
    warnings = machine.succeed(f"{journal} --unit 'hostenv*' --unit comin --unit nginx")
    # others speak of ours when they do not understand a file
    return warnings + machine.succeed(
        f"{journal} _PID=1 + SYSLOG_IDENTIFIER=systemd-tmpfiles | {{ grep -iE 'hostenv|comin' || true; }}"
    )


def look():
    for machine in MACHINES:
        machine.wait_for_unit("multi-user.target", None, 300)
        _, state = machine.execute("systemctl is-system-running --wait")
        failed = machine.succeed("systemctl list-units --failed --plain --no-legend")
        t.assertEqual((state.strip(), failed), ("running", ""), machine.name)
        t.assertEqual(complaints(machine), "", machine.name)
        t.assertEqual(open_ports(machine), {80}, machine.name)
    owners(provider, PROVIDER_FILES)
    provider.succeed(*(f"systemctl is-active {unit}" for unit in PROVIDER_UNITS))
    for node in NODES:
        owners(node, NODE_FILES)
        node.succeed(*(f"systemctl is-active {unit}" for unit in NODE_UNITS))


with subtest("The machines boot, and say nothing that somebody should read"):
    start_all()
    for machine in MACHINES:
        machine.wait_for_unit("multi-user.target", None, 300)
    provider.succeed(
        "hostenv-provider init --hostname demo.hostenv.test --node node-a=192.168.1.1",
        "systemctl start hostenv-provider.service hostenv-backups.service",
    )
    look()

with subtest("The configuration says how the machine is, and each file that it names is there"):
    told = settings(provider, "provider")
    wanted: dict[str, str | int] = {"user": "hostenv-provider", "publicUrl": "http://provider"}
    t.assertEqual({key: told[key] for key in wanted}, wanted)
    provider.succeed(f"test -S {told['socket']}", f"test -d {told['dataDir']}")
    provider.succeed(*(f"test -x {tool}" for tool in told["tools"].values()))
    for node in NODES:
        told = settings(node, "node")
        wanted = {
            "node": node.name,
            "apiBaseUrl": "http://provider",
            "tokenFile": TOKEN,
            "frontDoorPort": 80,
            "frontDoorGroup": node.succeed("systemctl show --property Group --value nginx.service").strip(),
        }
        t.assertEqual({key: told[key] for key in wanted}, wanted)
        node.succeed(f"test -d {told['stateDir']}", f"test -x {told['shell']}")
        node.succeed(*(f"test -f {code['root']}/index.php" for code in told["applications"].values()))
        node.succeed(*(f"test -x {tool}" for tool in told["tools"].values()))
        # for who looks after it
        node.succeed("hostenv-node --help > /dev/null")

with subtest("A service finds the programs that it starts by their names"):
    finds(provider, "hostenv-provider.service", "git", "ssh", "hostenv-provider")

with subtest("The Nix daemon obeys who must ask it, and nobody else"):
    ask = "NIX_REMOTE=daemon nix-store --query --hash /run/current-system"
    provider.succeed(f"runuser -u hostenv-provider -- env {ask}")
    for machine in MACHINES:
        machine.succeed(f"env {ask}")
        machine.fail(f"runuser -u nginx -- env {ask}")

with subtest("The units are locked in as they are written"):
    for machine, units in EXPOSURE.items():
        for unit, most in units.items():
            machine.succeed(f"systemd-analyze security --no-pager --threshold={most} {unit}.service")

with subtest("nginx may talk to the service; a node answers nobody who asks for no host of its own"):
    ask = "curl -s -o /dev/null -w '%{http_code}'"
    # which only the service says of a GET
    t.assertEqual(node_a.succeed(f"{ask} http://provider/webhook/none"), "405")
    # 52: the connection is closed without a byte
    t.assertEqual(provider.execute(f"{ask} http://node-a/")[0], 52)

with subtest("comin waits for its token, and starts when it comes"):
    provider.succeed("hostenv-provider comin-tokens")
    t.assertEqual(node_a.execute("systemctl is-active comin.service")[1].strip(), "inactive")
    _, token = provider.execute(SHOW_TOKEN)
    node_a.execute(f"umask 377 && echo {token.strip()} > {TOKEN}.new && mv {TOKEN}.new {TOKEN}")
    node_a.wait_until_succeeds("systemctl is-active comin.service", 60)
    # its metrics are for the machine alone
    t.assertEqual(open_ports(node_a), {80})
    # the generation's switch calls hostenv-node
    finds(node_a, "comin.service", "hostenv-node")
    configuration = f"$(tr '\\0' '\\n' < /proc/{main_process('comin.service')}/cmdline | grep yaml)"
    hook = f"grep --only-matching '/nix/store/[^\" ]*/bin/hostenv-comin-activate' {configuration}"
    node_a.succeed(f"test -x $({hook})")

with subtest("What a boot recreates can be recreated while the front door serves"):
    for node in (node_a, node_b):
        node.succeed("systemctl restart hostenv-runtime.service", timeout=60)
        node.wait_until_succeeds("systemctl is-active nginx.service", 60)

with subtest("A reboot keeps all of it"):
    head = "git -c safe.directory='*' --git-dir /var/lib/hostenv-provider/git/provider.git rev-parse main"
    before = provider.succeed(head), token
    for machine in MACHINES:
        machine.shutdown()
    start_all()
    look()
    t.assertEqual((provider.succeed(head), provider.execute(SHOW_TOKEN)[1]), before)
    node_a.wait_until_succeeds("systemctl is-active comin.service", 60)
