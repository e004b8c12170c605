"""What people are told about each stage of `tests/script.py`, and what they may try before it begins.

Commands name what differs from run to run in braces: `enter` (the run's shell), `a` and `b` (the nodes'
addresses), `workdir`, `socket`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hostenv_demo.names import ENVIRONMENT, VIRTUAL_HOST

_HOST = f"-H 'Host: {VIRTUAL_HOST}'"
_MARKER = "SELECT note FROM hostenv_demo_marker"


@dataclass(frozen=True)
class Stage:
    """`explanation`: what will happen and why. `commands`: what to try before it happens.

    `steps`: how many commands and waits it consists of, where that is always the same: the length of its bar.
    `visitors`: whether people read and write the site meanwhile.
    """

    explanation: str
    commands: tuple[str, ...]
    steps: int | None = None
    visitors: bool = False


STAGES: Mapping[str, Stage] = {
    "Boot: a provider and two nodes in one network": Stage(
        "Three machines start, joined by a network that only they and this demo can see: the provider, which"
        " decides what runs where, and node-a and node-b, which host websites. Nothing of it is installed on"
        " this computer.",
        ("cat {workdir}/endpoints.json", "tail -n 5 {workdir}/logs/driver.log"),
        steps=10,
    ),
    "Project: a customer's site in a Git repository": Stage(
        "A customer's website becomes a Git repository on the provider's machine. Its flake.nix says, as"
        " plain data, which environments there are and what each of them needs.",
        (
            "{enter} ssh provider cat /etc/hostenv-demo/project/flake.nix",
            "{enter} ssh node-a systemctl --no-pager --failed",
        ),
        steps=6,
    ),
    "Provider: an empty control plane learns its nodes and its first project": Stage(
        "`hostenv-provider init` makes the provider's own Git repository, `project add` names the customer's"
        " repository in it, and `plan` writes down which node hosts which environment. Then the service"
        " starts that takes webhooks.",
        (
            "{enter} ssh provider runuser -u hostenv-provider -- git -C /srv/project log",
            "{enter} ssh provider hostenv-provider --help",
        ),
        steps=10,
    ),
    "Nodes: each gets its token, and comin follows the provider's repository": Stage(
        "Each node gets a token of its own. With it comin, the GitOps agent on the node, may read the"
        " provider's repository: from now on it looks every five seconds, and builds and switches to"
        " whatever is new there.",
        (
            "curl -sS --unix-socket {socket} http://service/health",
            "{enter} hostenv-provider plan --dry-run",
            "{enter} ssh provider cat /var/lib/hostenv-provider/repo/generated/plan.json",
        ),
        steps=5,
    ),
    "Deploy: a webhook brings the site to node-a": Stage(
        "A webhook tells the provider that somebody pushed to the customer's repository. The provider plans,"
        " derives what each node has to do, commits and pushes; comin on node-a notices, and node-a"
        " activates the site. At last the provider looks at the site itself, and only then the job has"
        " succeeded.",
        (
            "{enter} ssh node-a cat /var/lib/hostenv/generation.json",
            "{enter} ssh node-a systemctl status --no-pager comin.service",
            "{enter} hostenv-provider jobs",
        ),
    ),
    "Seed: articles, files and the marker, imported by the environment's own tools": Stage(
        "The site is up, and empty. Its own user on node-a imports a database dump, with a marker that says"
        " `from-node-a`, and copies pictures. What the database and the files hold is written down as"
        " checksums.",
        (
            f"curl -sS {_HOST} {{a}}/",
            "{enter} trigger-webhook --follow",
            f"{{enter}} ssh node-a ps -u {ENVIRONMENT} -o pid,args",
        ),
        steps=11,
    ),
    "Move: the placement changes in Git, and a second webhook moves the site to node-b": Stage(
        "Now an operator commits one line, the environment's node is node-b, and a second webhook comes in."
        " node-a goes on serving while node-b gets a copy, and then what has changed since. Only for the last"
        " of it node-a refuses writes (reads go on); node-b serves the site, the provider looks at it, and"
        " only then node-a lets go. Visitors read and write the site all the while, ten times a second each.",
        (
            f"curl -sS {_HOST} {{a}}/",
            f"curl -sS {_HOST} --data note=hello {{a}}/notes",
            f'{{enter}} ssh node-a "su - {ENVIRONMENT} -c \'mysql -e \\"{_MARKER}\\"\'"',
            f"{{enter}} curl -sS http://{VIRTUAL_HOST}/",
        ),
        visitors=True,
    ),
    "Proof: node-b serves the marker, and not one byte is different": Stage(
        "The same page, from the other machine, must show the marker; every table's checksum and every"
        " file's hash must be what it was on node-a, and a new note must be accepted.",
        (
            f"curl -sS {_HOST} {{b}}/",
            f"{{enter}} curl -sS http://{VIRTUAL_HOST}/",
            "{enter} hostenv-provider jobs",
            f'{{enter}} ssh node-b "su - {ENVIRONMENT} -c \'mysql -e \\"{_MARKER}\\"\'"',
        ),
        visitors=True,
        steps=9,
    ),
    "Source: node-a stopped the environment and closed its virtual hosts": Stage(
        "node-a must have stopped every process of the environment and closed its virtual hosts. Its data"
        " stays there, asleep: a move back begins with what node-b has then, and sets this aside.",
        (
            "{enter} ssh node-a loginctl --no-pager list-users",
            "{enter} ssh node-a ls /var/lib/hostenv/nginx",
            "{enter} ssh node-b ls /var/lib/hostenv/nginx",
        ),
        visitors=True,
        steps=2,
    ),
    "Idempotence: a third webhook without changes does nothing": Stage(
        "The same webhook once more. Nothing has changed, so there is nothing to do: no commit, no action,"
        " and above all no second migration.",
        (
            "{enter} hostenv-provider plan --dry-run",
            "{enter} trigger-webhook --follow",
        ),
    ),
}

# after the last stage
END = Stage(
    "That was all of it. The machines stay up until you go on: look around, move the site back, break"
    " something. Then the machines end; the evidence stays.",
    (
        f"curl -sS {_HOST} {{b}}/",
        "{enter} hostenv-provider jobs",
        f"{{enter}} hostenv-provider migrate {ENVIRONMENT} --to node-a",
        "{enter} hostenv-provider jobs --follow",
    ),
)


def commands(stage: Stage, words: Mapping[str, str]) -> list[str]:
    """The stage's commands with everything filled in. Raises KeyError if a word is missing."""
    return [command.format_map(words) for command in stage.commands]
