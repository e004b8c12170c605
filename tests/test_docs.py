"""What documents tell people to type: every link leads somewhere, every command does what it is there for."""

import itertools
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from hostenv_demo.demo import DESCRIPTION
from hostenv_demo.names import LINK
from hostenv_demo.stages import STAGES
from hostenv_lab import description, record
from hostenv_lab.lab import Lab
from pty_session import PROMPT, terminal

from traces import assert_gone

TREE = Path(__file__).parents[1]
DOCUMENTS = sorted([TREE / "README.md", TREE / "CONTRIBUTING.md", *(TREE / "docs").glob("*.md")])
# the documents' Git host, whose name leads to the provider itself, hands out the demo's project as files
GIT_HOST = """
server {
  listen 127.0.0.1:443 ssl;
  server_name git.example.org;
  ssl_certificate /srv/cert.pem;
  ssl_certificate_key /srv/key.pem;
  location /shop/web.git/ { alias /srv/web/.git/; }
}
"""
SCRIPT = """
import json
import shlex

start_all()
for machine in machines:
    machine.wait_for_unit("multi-user.target", None, 300)
provider.succeed(
    "cp -rL /etc/hostenv-demo/project /srv/web && chmod -R u+w /srv/web",
    "sed -i s/demo.hostenv.local/www.shop.example/ /srv/web/flake.nix",
    "chown -R hostenv-provider: /srv/web",
    "echo 127.0.0.1 git.example.org >> /etc/hosts",
    "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=git.example.org"
    " -addext subjectAltName=DNS:git.example.org -keyout /srv/key.pem -out /srv/cert.pem",
    "git config --system http.sslCAInfo /srv/cert.pem",
    f"echo {shlex.quote(GIT_HOST)} > /etc/nginx/conf.d/git-host.conf",
    "systemctl start nginx.service",
)
configuration = json.loads(provider.succeed("cat /etc/hostenv/provider.json"))
configuration["sourceNetworks"] = ["127.0.0.0/8"]
provider.succeed(f"echo {shlex.quote(json.dumps(configuration))} > /etc/hostenv/provider.json")
git = "runuser -u hostenv-provider -- git -C /srv/web -c user.name=A -c user.email=a@hostenv.test"
for words in ("init -q -b main", "add --all", "commit -q -m site", "update-server-info"):
    provider.succeed(f"{git} {words}")
for command in COMMANDS["provider"]:
    if "migrate" in command:
        units = ("hostenv-provider.service", "hostenv-git.socket", "hostenv-backups.service", "nginx.service")
        provider.succeed(f"systemctl start {' '.join(units)}")
        for machine in (node_a, node_b):
            token = provider.succeed(f"hostenv-provider comin-tokens --show {machine.name}").strip()
            machine.execute(f"umask 377; echo {token} > /etc/hostenv/node-token")
        # the documents' addresses are examples of the Internet's; these are the lab's
        lookups = [provider.succeed(f"getent ahostsv4 {name}") for name in ("node-a", "node-b")]
        addresses = [lines.split()[0] for lines in lookups]
        operator = "runuser -u hostenv-provider -- git -c user.name=A -c user.email=a@hostenv.test"
        provider.succeed(
            f"{operator} clone -q /var/lib/hostenv-provider/git/provider.git /tmp/operator",
            f"sed -i 's/192.0.2.11/{addresses[0]}/' /tmp/operator/provider.json",
            f"sed -i 's/192.0.2.12/{addresses[1]}/' /tmp/operator/provider.json",
            f"{operator} -C /tmp/operator commit -qam addresses",
            f"{operator} -C /tmp/operator push -q",
        )
    provider.succeed(command, timeout=300)
for command in COMMANDS["node"]:
    # the activation is not running all the time, which `systemctl status` tells by 3
    status, output = node_b.execute(command.replace("journalctl", "journalctl --no-pager"), timeout=60)
    t.assertIn(status, (0, 3), output)
provider.succeed(f"{git} commit -q --allow-empty -m more && {git} update-server-info")
head = provider.succeed(f"{git} rev-parse HEAD").strip()
provider.succeed("hostenv-provider trigger shop__web/main && hostenv-provider jobs --follow", timeout=300)
provider.succeed(f"grep -q {head} /var/lib/hostenv-provider/repo/generated/plan.json")
t.assertIn("hostenv demo", provider.succeed("curl -fsS -H 'Host: www.shop.example' http://node-b/"))
"""


def fenced(document: Path) -> list[str]:
    """The lines of blocks that are commands: no language, or `console`."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for language, text in blocks if language in ("", "console") for line in text.splitlines()]
    return [line for line in lines if re.match(r"(\./|[a-z][a-z0-9-]* )", line)]


def inline(document: Path) -> list[str]:
    """Commands in running text."""
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", document.read_text())
    programs = "hostenv-provider|journalctl|nix|pytest|python3"
    command = rf"\./[a-z-]+\.sh|\./hostenv-demo/enter|PYTHONPATH=|({programs}) \S"
    return [span for span in spans if re.match(command, span)]


# what is tried by other means than being typed here, or not at all, and why
ON_MACHINES = r"(hostenv-provider|hostenv-node|systemctl|journalctl|comin) "
HERE = (
    "PYTHONPATH=pkgs/hostenv-lab:pkgs/hostenv-core python3 -m hostenv_lab run tests/script.py --interactive",
    "./run-demo.sh",
    "./hostenv-demo/enter",
    "./trigger-webhook.sh --workdir DIR --follow",
    "./teardown.sh",
    "./run-demo.sh --teardown",
)
NOT_HERE = {
    r"nix ": "needs Nix",
    r"\./run-tests\.sh|pytest ": "runs these very tests",
    r"\./run-demo\.sh --automated --cleanup": "tests/test_demo.py does",
    r"python3 -m simulator": "takes minutes; tests/simulator/test_simulator.py runs some schedules",
    r"python3 tests/nix/": "needs source trees of nixpkgs and comin",
}
# of those for machines
OF_PROVIDER = r"hostenv-(provider|evaluate)"
PLACEHOLDER = r"\b(NODE|ENV|KEY|JOB)\b|init$"
NOT_ON_MACHINES = {"hostenv-provider rollback shop__web/main": "the site there has no earlier release"}


def test_every_command_is_run_or_it_is_said_why_not() -> None:
    found = {command for document in DOCUMENTS for command in (*fenced(document), *inline(document))}
    reasons = "|".join((ON_MACHINES, *NOT_HERE))
    assert not [command for command in found if command not in HERE and not re.match(reasons, command)]
    assert set(HERE) <= found
    assert set(NOT_ON_MACHINES) <= found
    assert all(any(re.match(reason, command) for command in found) for reason in NOT_HERE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.name))
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"(?<!\\)\[[^][]*\]\(([^)#]+)[^)]*\)", document.read_text())
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not missing


def test_every_citation_of_the_contract_names_a_section() -> None:
    """`contract 5`, `contract 4 and 6`, `contract 5, 7 and 8`."""
    sections = set(re.findall(r"^## (\d+)\. ", (TREE / "docs/contract.md").read_text(), re.MULTILINE))
    files = subprocess.run(
        ["git", "grep", "-lIi", "contract", "--", ":!docs/contract.md"],
        cwd=TREE, capture_output=True, text=True, check=True, timeout=60,
    ).stdout.splitlines()  # fmt: skip
    citation = re.compile(r"contract\s+(\d+(?:(?:,\s|\sand\s)\d+)*)", re.IGNORECASE)
    cited = [
        (file, number)
        for file in files
        for found in citation.findall((TREE / file).read_text())
        for number in re.findall(r"\d+", found)
    ]
    assert len(cited) > 100
    assert [each for each in cited if each[1] not in sections] == []


def test_every_file_that_is_named_exists() -> None:
    text = (TREE / "docs/how-it-works.md").read_text()
    folders = {
        "C": TREE / "pkgs/hostenv-core/hostenv_core",
        "P": TREE / "pkgs/hostenv-provider/hostenv_provider",
        "N": TREE / "pkgs/hostenv-node/hostenv_node",
    }
    named = re.findall(r"`([CPN])/([^`]+)`", text)
    assert len(named) > 10
    assert not [name for letter, name in named if not (folders[letter] / name).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.name))
def test_scripts_know_the_flags_that_are_shown(document: Path) -> None:
    for command in [*fenced(document), *inline(document)]:
        if not re.match(r"\./[a-z-]+\.sh", command):
            continue
        script, *words = command.split()
        if script == "./run-tests.sh":
            assert (TREE / script).is_file()
            continue
        shown = subprocess.run(
            [TREE / script, "--help"], check=True, capture_output=True, text=True, timeout=60
        )
        assert not [word for word in words if word.startswith("--") and word not in shown.stdout], command


@pytest.mark.machine
def test_the_commands_for_machines_work_there(tmp_path: Path) -> None:
    order = ("nixos.md", "project.md", "troubleshooting.md")
    found = [command for name in order for command in fenced(TREE / "docs" / name)]
    found += [command for name in order for command in inline(TREE / "docs" / name)]
    told = [word for word in dict.fromkeys(found) if word.startswith("hostenv-provider ")]
    complete = [
        command for command in told if not re.search(PLACEHOLDER, command) and command not in NOT_ON_MACHINES
    ]
    logs = [word for word in dict.fromkeys(found) if word.startswith("journalctl ")]
    complete += [f"{word} --no-pager" for word in logs if re.search(OF_PROVIDER, word)]
    # the service is started for the first migration, and a job before it is followed
    complete.sort(
        key=lambda command: (
            " jobs" in command,
            " trigger" in command,
            "migrate" in command,
            " hosts " in command,
        )
    )
    commands = {
        "provider": complete,
        "node": [
            word
            for word in found
            if re.match(r"(hostenv-node|systemctl|journalctl|comin) ", word)
            and not re.search(OF_PROVIDER, word)
        ],
    }
    assert any("migrate" in command for command in complete)
    assert len(commands["node"]) >= 3
    script = tmp_path / "script.py"
    script.write_text(f"COMMANDS = {json.dumps(commands)}\nGIT_HOST = {GIT_HOST!r}\n{SCRIPT}")
    workdir = tmp_path / "lab"
    with Lab(description.load(DESCRIPTION), workdir, "container") as lab:
        lab.driver.run_script(script)
    record.teardown(workdir)


@pytest.mark.machine
def test_the_commands_for_a_run_do_what_is_told(tmp_path: Path) -> None:
    for name in ("run-demo.sh", "teardown.sh", "trigger-webhook.sh"):
        (tmp_path / name).symlink_to(TREE / name)

    def typed(command: str, words: str = "") -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, input=words, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    with terminal(tmp_path, ["./run-demo.sh"]) as wizard:
        for _ in itertools.takewhile(lambda name: not name.startswith("Deploy: "), STAGES):
            wizard.until(PROMPT)
            wizard.press("\n")
        wizard.until(PROMPT)
        workdir = (tmp_path / LINK).resolve(strict=True)
        run_id = record.read(workdir).run_id
        job = json.loads(typed(f"./trigger-webhook.sh --workdir {LINK} --follow"))
        assert job["state"] == "succeeded"
        assert "succeeded" in typed("./hostenv-demo/enter", "hostenv-provider jobs\n")
        os.kill(wizard.pid, signal.SIGKILL)
        wizard.exit_status()
    assert f"removed {workdir}" in typed("./teardown.sh")
    assert_gone(run_id, workdir)
    assert str(workdir) not in typed("./run-demo.sh --teardown")


@pytest.mark.machine
def test_the_prompt_on_machines_opens() -> None:
    (command,) = [command for command in HERE if command.startswith("PYTHONPATH=")]
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=TREE,
        input="print([machine.name for machine in machines])\n",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "['node-a', 'node-b', 'provider']" in done.stdout
