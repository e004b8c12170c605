# What a testScript may rely on, tried on two bare machines: the lab's own test, run by test_machines.py.

import datetime
import pathlib
import tempfile


def raises(kind, call, *arguments):
    """The message of the error that the call must end with."""
    try:
        call(*arguments)
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__} by {call} {arguments}")


Failed = t.failureException

with subtest("machines start together, with their names in scope"):
    t.assertEqual([machine.name for machine in machines], ["alpha", "beta-2"])
    start_all()
    for machine in (alpha, beta_2):
        machine.wait_for_unit("multi-user.target")
        t.assertEqual(machine.succeed("hostname").strip(), machine.name)
        t.assertEqual(machine.succeed("systemctl --failed --no-legend"), "")

with subtest("commands: bash, root, strict, standard input closed, standard error apart"):
    t.assertEqual(alpha.succeed("echo a", "echo b"), "a\nb\n")
    t.assertEqual(alpha.execute("echo out; echo err >&2; exit 3"), (3, "out\n"))
    t.assertEqual(alpha.execute("false | true"), (1, ""))
    t.assertEqual(alpha.execute("echo $UNSET_VARIABLE")[0] != 0, True)
    t.assertEqual(alpha.execute("cat; pwd; id -u; echo $HOME"), (0, "/tmp\n0\n/root\n"))
    t.assertEqual(alpha.execute("exit 7", False), (-1, ""))
    t.assertEqual(alpha.execute("printf 'grüße %s' \"it's\""), (0, "grüße it's"))
    t.assertEqual(len(alpha.succeed("head -c 300000 /dev/zero | tr '\\0' x")), 300000)
    t.assertEqual(alpha.execute("sleep 600", True, True, 1)[0], 124)
    t.assertIn("failed (exit code 5)", raises(Failed, alpha.succeed, "exit 5"))
    t.assertIn("unexpectedly succeeded", raises(Failed, alpha.fail, "true"))
    t.assertEqual(alpha.fail("echo no; false"), "no\n")
    alpha.succeed("(sleep 1; touch /tmp/late) >&2 &")
    alpha.wait_for_file("/tmp/late", 60)
    t.assertEqual(alpha.execute("touch /tmp/unseen", True, False), (-2, ""))
    alpha.wait_until_succeeds("test -e /tmp/unseen", 60)

with subtest("waiting: again and again, until the limit"):
    alpha.succeed("systemd-run --on-active=2 --timer-property=AccuracySec=100ms rm /tmp/unseen 2>&1")
    alpha.wait_until_fails("test -e /tmp/unseen", 60)
    raises(Failed, alpha.wait_until_succeeds, "false", 1)
    tries = []
    retry(lambda last: tries.append(last) or len(tries) == 2, 60)
    t.assertEqual(tries, [False, False])
    raises(Failed, retry, lambda last: tries.append(last), 1)
    t.assertTrue(tries[-1])

with subtest("units: a failed one, or one that nobody starts, ends the wait at once"):
    began = datetime.datetime.now()
    alpha.execute("systemd-run --unit broken false 2>&1; true")
    alpha.wait_until_succeeds("systemctl is-failed broken.service", 60)
    t.assertIn('reached state "failed"', raises(Failed, alpha.wait_for_unit, "broken.service"))
    t.assertIn("no pending jobs", raises(Failed, alpha.wait_for_unit, "absent.service"))
    t.assertLess((datetime.datetime.now() - began).total_seconds(), 300)
    alpha.require_unit_state("multi-user.target")
    raises(Failed, alpha.require_unit_state, "multi-user.target", "inactive")
    t.assertEqual(alpha.get_unit_info("broken.service")["Result"], "exit-code")
    t.assertEqual(alpha.stop_job("multi-user.target")[0], 0)
    t.assertEqual(alpha.get_unit_property("multi-user.target", "ActiveState"), "inactive")
    t.assertEqual(alpha.start_job("multi-user.target")[0], 0)

with subtest("users: their systemd lingers and answers"):
    alpha.succeed("useradd --create-home --uid 1500 guest", "loginctl enable-linger guest")
    alpha.wait_for_unit("default.target", "guest")
    t.assertEqual(alpha.succeed("su - guest -c 'id -un; pwd'"), "guest\n/home/guest\n")
    t.assertEqual(alpha.systemctl("is-active default.target", "guest"), (0, "active\n"))
    alpha.execute("systemd-run --machine guest@ --user --unit mine false 2>&1; true")

with subtest("ports and sockets"):
    alpha.wait_for_closed_port(8000)
    alpha.succeed("systemd-run --unit web --working-directory=/usr/share python3 -m http.server 8000 2>&1")
    alpha.wait_for_open_port(8000)
    beta_2.wait_for_open_port(8000, "alpha")
    alpha.succeed("systemd-run --unit sock nc -lkU /run/test.sock 2>&1")
    alpha.wait_for_open_unix_socket("/run/test.sock")

with subtest("cables: out, and in again"):
    alpha.block()
    beta_2.fail("nc -z -w 2 alpha 8000")
    alpha.unblock()
    beta_2.wait_until_succeeds("nc -z -w 2 alpha 8000", 60)

with subtest("files go in and come out"), tempfile.TemporaryDirectory() as folder:
    tree = pathlib.Path(folder, "tree")
    tree.mkdir()
    content = bytes(range(256)) * 300
    (tree / "data").write_bytes(content)
    (tree / "link").symlink_to("data")
    alpha.copy_from_host(str(tree), "/srv/deep/tree")
    t.assertEqual(alpha.succeed("readlink /srv/deep/tree/link").strip(), "data")
    alpha.copy_from_host(str(tree / "data"), "/srv/one")
    t.assertEqual(alpha.succeed("stat -c %s /srv/one /srv/deep/tree/data"), f"{len(content)}\n" * 2)
    alpha.copy_from_machine("/srv/deep/tree", "fetched")
    alpha.copy_from_machine("/srv/one")

with subtest("conditions that must hold while other things happen"):
    calls = []

    @polling_condition(seconds_interval=0)
    def stays():
        "alpha answers"
        alpha.succeed("true")
        calls.append(1)
        return len(calls) < 4

    with stays:
        alpha.succeed("true")
    t.assertEqual(len(calls), 2)
    try:
        with stays:
            beta_2.succeed("true")
            beta_2.succeed("true")
    except Exception as error:
        t.assertEqual(type(error).__name__, "PollingConditionError")
    else:
        raise AssertionError("a condition that does not hold was not noticed")

with subtest("power: what is on the disk stays"):
    alpha.succeed("echo kept > /srv/kept; sync")
    alpha.crash()
    t.assertFalse(alpha.is_up())
    alpha.start()
    t.assertEqual(alpha.succeed("cat /srv/kept"), "kept\n")
    alpha.wait_for_unit("multi-user.target")
    t.assertIn("allow_reboot", raises(Exception, alpha.reboot))
    alpha.shutdown()
    t.assertFalse(alpha.is_up())
    alpha.start(allow_reboot=True)
    alpha.wait_for_unit("multi-user.target")
    alpha.succeed("touch /run/before-reboot")
    alpha.reboot()
    t.assertEqual(alpha.succeed("cat /srv/kept"), "kept\n")
    alpha.fail("test -e /run/before-reboot")
    alpha.wait_for_unit("multi-user.target")
    alpha.succeed("systemd-run --unit web2 python3 -m http.server 8000 2>&1")
    beta_2.wait_for_open_port(8000, "alpha", 60)

with subtest("a machine that ends by itself is noticed"):
    beta_2.execute("systemctl poweroff", True, False)
    beta_2.wait_for_shutdown(120)
    beta_2.start()
    beta_2.wait_for_unit("multi-user.target")
    t.assertIn("Reached target", beta_2.get_console_log())
