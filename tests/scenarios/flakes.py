# A stranger's flake in its box: whatever of Nix can read or fetch is tried from it, on the provider's machine
# with another project's source and the provider's secrets there to be had. Then flakes made up from a seed:
# HOSTENV_FLAKES says how many, HOSTENV_FLAKES_SEED which.

import hashlib
import json
import os
import secrets
import shlex

from hostenv_scenarios import hostile_flakes
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


PROBE = """{ outputs = { self }: { lib.hostenv = rec {
  x86_64-linux.environments = { probe = %s; };
  aarch64-linux = x86_64-linux;
}; }; }"""
CANARY = secrets.token_hex(16)


def files(folder):
    return set(provider.execute(f"find {folder} 2>/dev/null")[1].splitlines())


def evaluated(flakes):
    """What the box says of each, and how many connections somebody on the machine got meanwhile."""
    program = cluster.install(provider, "evaluate")
    listed = json.dumps(flakes).replace("@store@", stored)
    provider.execute(f"mkdir -p {FOLDER} && printf %s {shlex.quote(listed)} > {FOLDER}/flakes.json")
    status, output = provider.execute(f"{program} {FOLDER}/flakes.json")
    t.assertEqual(status, 0, output)
    said = json.loads(output)
    return said["answers"], said["connections"]


def of_expressions(expressions):
    links = {"link": "/etc/passwd", "folder": "/etc"}
    return [{"files": {"flake.nix": PROBE % each}, "links": links} for each in expressions]


def left():
    return files("/nix/store") | files("/tmp") | files("/var/tmp")


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
    told = [str(token) for token in json.loads(tokens).values()]
    t.assertGreater(len(told), 0)
    # `execute` logs nothing of these either
    with_canary = "import json, sys; c = json.load(open(sys.argv[1])); c['tools']['x'] = '/' + sys.argv[2];"
    with_canary += " json.dump(c, open(sys.argv[1], 'w'))"
    path = hostile_flakes.CONFIGURATION
    provider.execute(f"python3 -c {shlex.quote(with_canary)} {path} {CANARY}")
    for path in (hostile_flakes.SECRET, hostile_flakes.OTHERS_SOURCE, "/tmp/canary"):
        provider.execute(f"printf %s {CANARY} > {path}; chmod a+r {path}")
    stored = provider.execute("nix-store --add /tmp/canary")[1].strip()
    t.assertEqual(provider.execute(f"cat {stored}")[1], CANARY)
    # as it is, and as Nix would tell what it is
    digests = [hashlib.new(name, CANARY.encode()) for name in ("md5", "sha1", "sha256", "sha512")]
    told += [CANARY, *(digest.hexdigest() for digest in digests)]
    values = {
        "port": "@port@",
        "rev": locked["rev"],
        "hash": locked["narHash"],
        "path": SECRET,
        "other": OTHER,
    }

with subtest("What a flake is for works in the box, its own files included"):
    (good, traced, seen), _ = evaluated(
        of_expressions(
            [
                'builtins.fromJSON "[1]" ++ [ (builtins.stringLength (builtins.readFile ./flake.nix) > 0) ]',
                'builtins.trace "x" (import ./flake.nix ? outputs)',
                "builtins.attrNames builtins",
            ]
        )
    )
    t.assertEqual(good, {"environments": {"probe": [1, True]}})
    t.assertEqual(traced, {"environments": {"probe": True}})

with subtest("Every builtin of this Nix is tried or known to be harmless"):
    tried = {attempt.builtin for attempt in ATTEMPTS}
    # its own list has what experimental features would add, too
    language = json.loads(provider.execute("nix __dump-language")[1])
    if set(language) == {"builtins", "constants"}:
        language = {**language["builtins"], **language["constants"]}
    listed = set(language)
    t.assertGreater(len(listed), 100)
    t.assertEqual((listed | set(seen["environments"]["probe"])) - tried - HARMLESS, set())

with subtest("Nothing is read, fetched or left behind"):
    before = left()
    expressions = [attempt.expression.format_map(values) for attempt in ATTEMPTS]
    answers, connections = evaluated(of_expressions(expressions))
    t.assertEqual(connections, 0)
    t.assertEqual(left(), before)
    wrong = []
    for attempt, said in zip(ATTEMPTS, answers, strict=True):
        refused = isinstance(said, dict) and list(said) == ["error"]
        if not refused and (attempt.answer is None or said != {"environments": {"probe": attempt.answer}}):
            wrong.append(f"{attempt.expression}: {said}")
        if any(secret in json.dumps(said) for secret in (*told, locked["narHash"], "root:x:0")):
            wrong.append(f"{attempt.expression}: tells a secret")
    t.assertEqual(wrong, [])
    log.info(f"{len(ATTEMPTS)} attempts of {len(tried)} builtins refused")

with subtest("What flakes that nobody thought of say holds nothing of the provider's, and is one line"):
    seed, count = os.environ.get("HOSTENV_FLAKES_SEED", "1"), os.environ.get("HOSTENV_FLAKES", "24")
    made = hostile_flakes.flakes(int(seed), int(count))
    answers = []
    # in parts, since each is one argument of a command
    for begin in range(0, len(made), 24):
        part = made[begin : begin + 24]
        said, connections = evaluated([{"files": flake.files, "links": flake.links} for flake in part])
        answers += said
        t.assertEqual(connections, 0)
    t.assertEqual(left(), before)
    wrong, results, silent = [], 0, 0
    for flake, said in zip(made, answers, strict=True):
        text = json.dumps(said)
        if any(secret in text for secret in (*told, locked["narHash"], "root:x:0")):
            wrong.append(f"{flake}: tells a secret")
        if said is None:
            # killed at a limit of the box, for which the job says that it ended without an answer
            silent += 1
        elif list(said) == ["error"]:
            if not said["error"].isprintable() or "/nix/store" in said["error"]:
                wrong.append(f"{flake}: {said}")
        elif list(said) == ["environments"]:
            results += 1
        else:
            wrong.append(f"{flake}: {said}")
    t.assertEqual(wrong, [])
    log.info(f"{len(made)} flakes: {results} with a result, {silent} without an answer, the rest refused")
    journal = provider.execute("journalctl --boot --no-pager")[1]
    t.assertEqual([secret for secret in told if secret in journal], [])

with subtest("The box is hardened, and gone when it has answered"):
    provider.succeed("systemd-analyze security --no-pager --threshold=15 hostenv-evaluate@.service")
    retry(
        lambda _: provider.execute("systemctl --quiet is-active 'hostenv-evaluate@*'")[0] != 0,
        30,
    )
