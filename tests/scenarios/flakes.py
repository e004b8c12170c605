# A stranger's flake in its box: whatever of Nix can read or fetch is tried from it, on the provider's machine
# with another project's source and the provider's secrets there to be had.

import json
import shlex

from hostenv_scenarios.cluster import FOLDER, Cluster
from hostenv_scenarios.flakes import ATTEMPTS, HARMLESS, OTHER, SECRET

cluster = Cluster(provider, {}, log, retry, subtest)
FLAKE = """{
  outputs = _: {
    lib.hostenv = rec {
      x86_64-linux.environments.main = { type = "production"; application.name = "php"; };
      aarch64-linux = x86_64-linux;
    };
  };
}"""


def files(folder):
    return set(provider.execute(f"find {folder} 2>/dev/null")[1].splitlines())


def evaluated(expressions):
    """What the box says of each, and how many connections somebody on the machine got meanwhile."""
    listed = shlex.quote(json.dumps(expressions))
    provider.execute(f"mkdir -p {FOLDER} && printf %s {listed} > {FOLDER}/expressions.json")
    program = cluster.install(provider, "evaluate")
    status, output = provider.execute(f"{program} {FOLDER}/expressions.json")
    t.assertEqual(status, 0, output)
    said = json.loads(output)
    return said["answers"], said["connections"]


with subtest("A provider with a project, whose source and secrets a stranger would like to have"):
    provider.start()
    provider.wait_for_unit("multi-user.target", None, 300)
    provider.succeed(
        "hostenv-provider init --hostname demo.hostenv.test --node node-a=192.0.2.1",
        "mkdir /srv/other",
        f"echo {shlex.quote(FLAKE)} > /srv/other/flake.nix",
        "chown -R hostenv-provider: /srv/other",
        "runuser -u hostenv-provider -- sh -ec 'cd /srv/other; git init --quiet --initial-branch main;"
        " git add --all; git -c user.name=x -c user.email=x@localhost commit --quiet --message x'",
        "hostenv-provider project add demo__other git+file:///srv/other > /dev/null",
        "hostenv-provider comin-tokens",
    )
    # `execute` logs nothing
    _, lock = provider.execute("cat /var/lib/hostenv-provider/repo/flake.lock")
    locked = json.loads(lock)["nodes"]["demo__other"]["locked"]
    _, tokens = provider.execute(f"cat {SECRET}")
    secrets = [str(token) for token in json.loads(tokens).values()]
    t.assertGreater(len(secrets), 0)
    values = {
        "port": "@port@",
        "rev": locked["rev"],
        "hash": locked["narHash"],
        "path": SECRET,
        "other": OTHER,
    }

with subtest("What a flake is for works in the box, its own files included"):
    (good, traced, builtins), _ = evaluated(
        [
            'builtins.fromJSON "[1]" ++ [ (builtins.stringLength (builtins.readFile ./flake.nix) > 0) ]',
            'builtins.trace "x" (import ./flake.nix ? outputs)',
            "builtins.attrNames builtins",
        ]
    )
    t.assertEqual(good, {"environments": {"probe": [1, True]}})
    t.assertEqual(traced, {"environments": {"probe": True}})

with subtest("Every builtin of this Nix is tried or known to be harmless"):
    tried = {attempt.builtin for attempt in ATTEMPTS}
    t.assertEqual(set(builtins["environments"]["probe"]) - tried - HARMLESS, set())

with subtest("Nothing is read, fetched or left behind"):
    before = files("/nix/store") | files("/tmp") | files("/var/tmp")
    answers, connections = evaluated([attempt.expression.format_map(values) for attempt in ATTEMPTS])
    t.assertEqual(connections, 0)
    t.assertEqual(files("/nix/store") | files("/tmp") | files("/var/tmp"), before)
    wrong = []
    for attempt, said in zip(ATTEMPTS, answers, strict=True):
        refused = isinstance(said, dict) and list(said) == ["error"]
        if not refused and (attempt.answer is None or said != {"environments": {"probe": attempt.answer}}):
            wrong.append(f"{attempt.expression}: {said}")
        if any(secret in json.dumps(said) for secret in (*secrets, locked["narHash"], "root:x:0")):
            wrong.append(f"{attempt.expression}: tells a secret")
    t.assertEqual(wrong, [])
    log.info(f"{len(ATTEMPTS)} attempts of {len(tried)} builtins refused")

with subtest("The box is hardened, and gone when it has answered"):
    provider.succeed("systemd-analyze security --no-pager --threshold=15 hostenv-evaluate@.service")
    retry(
        lambda _: provider.execute("systemctl --quiet is-active 'hostenv-evaluate@*'")[0] != 0,
        30,
    )
