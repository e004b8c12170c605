# The options that the migration leaves alone, on booted machines: a provider that makes its repository itself
# and has a certificate, a node with another port and a token from elsewhere, a node beside a site of its own.

import json

TOKEN = "/run/secrets/hostenv-node-token"


def hand_over_token(node):
    _, token = provider.execute(f"hostenv-provider comin-tokens --show {node.name}")
    node.execute(f"umask 377 && echo {token.strip()} > {TOKEN}.new && mv {TOKEN}.new {TOKEN}")


start_all()
for machine in (provider, node_a, node_b):
    machine.wait_for_unit("multi-user.target", None, 300)

with subtest("The provider has made its repository, and serves it encrypted"):
    provider.wait_for_unit("hostenv-provider.service", None, 60)
    repository = "/var/lib/hostenv-provider/git/provider.git"
    settings = f"git -c safe.directory='*' --git-dir {repository} show main:provider.json"
    written = json.loads(provider.succeed(settings))
    t.assertEqual(written["nodeFor"], {"default": "node-b"})
    t.assertEqual(written["nodes"]["node-a"]["address"], "192.168.1.1")
    ask = "curl -s -o /dev/null -w '%{http_code}'"
    t.assertEqual(node_a.succeed(f"{ask} https://provider/webhook/none"), "405")
    provider.succeed("hostenv-provider comin-tokens")

with subtest("comin starts when its token appears where the node looks for it, long after the boot"):
    t.assertEqual(node_a.execute("systemctl is-active comin.service")[1].strip(), "inactive")
    node_a.succeed("mkdir -m 700 /run/secrets")
    hand_over_token(node_a)
    node_a.wait_until_succeeds("systemctl is-active comin.service", 60)

with subtest("and again when it changes"):
    show = "systemctl show --property MainPID --value comin.service"
    first = node_a.succeed(show).strip()
    provider.succeed("hostenv-provider comin-tokens --rotate node-a")
    hand_over_token(node_a)
    node_a.wait_until_succeeds(f"p=$({show}); test $p != 0 && test $p != {first}", 60)

with subtest("The front door has the port that it was given"):
    # 52: closed without a byte, 7: nobody listens, 28: no answer
    t.assertEqual(provider.execute("curl -s http://node-a:8081/")[0], 52)
    t.assertIn(provider.execute("curl -s --max-time 10 http://node-a/")[0], (7, 28))

with subtest("A virtual host of the operator's lives beside it"):
    t.assertEqual(provider.succeed("curl -s -H 'Host: own.example.org' http://node-b/"), "own")
    t.assertEqual(provider.execute("curl -s -4 http://node-b/")[0], 52)
