"""Who may do what on the machines, as data: what `access.py` tries cell by cell and docs/access.md shows."""

from collections.abc import Sequence
from dataclasses import dataclass

_CONNECT = "python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])'"
_DATA = "/var/lib/hostenv-provider"


@dataclass(frozen=True)
class Row:
    """Something to do, as a shell command that ends with 0 only if it could be done.

    `may` is who of the table's columns may, in their order: `y` or `n` each.
    """

    what: str
    command: str
    may: str


@dataclass(frozen=True)
class Table:
    """Rows that the same people or machines try."""

    title: str
    who: tuple[str, ...]
    rows: tuple[Row, ...]

    def cells(self) -> list[tuple[int, Row, bool]]:
        """Column, row and whether that may be done."""
        return [(column, row, may == "y") for row in self.rows for column, may in enumerate(row.may)]

    def markdown(self) -> str:
        """The table as docs/access.md has it."""
        head = f"| {self.title} | {' | '.join(self.who)} |\n|---|{'---|' * len(self.who)}\n"
        words = {"y": "yes", "n": "no"}
        return head + "".join(
            f"| {row.what} | {' | '.join(words[may] for may in row.may)} |\n" for row in self.rows
        )


def _called(path: str) -> str:
    """The HTTP status of a request of the caller's node, with its token if it has one."""
    return (
        'printf \'header = "Authorization: Bearer %s"\\n\' "$(cat {token})"'
        f" | curl -s -K - -o /dev/null -w '%{{{{http_code}}}}' {path}"
    )


def _answers(status: str, path: str) -> str:
    return f'test "$({_called(path)})" = {status}'


def _git(arguments: str) -> str:
    account = 'Authorization: Basic $(printf %s:%s {node} "$(cat {token})" | base64 -w0)'
    return (
        "GIT_TERMINAL_PROMPT=0 GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=http.extraHeader"
        f' GIT_CONFIG_VALUE_0="{account}" timeout 60 git {arguments}'
    )


def _backup(method: str, path: str, refused: str) -> str:
    account = 'printf \'user = "%s:%s"\\n\' "${{RESTIC_REST_USERNAME:-}}" "${{RESTIC_REST_PASSWORD:-}}"'
    return (
        f"set -a; . {{account}}; status=$({account} | curl -s -K - -o /dev/null -w '%{{{{http_code}}}}'"
        f" -X {method} http://provider/backups/{{user}}/{path}); case $status in {refused}) exit 1;; esac"
    )


ON_A_NODE = Table(
    "on a node, with one environment's",
    ("the environment itself", "another environment", "the front door", "root"),
    (
        Row("home folder", "ls {home}", "ynny"),
        Row("code", "ls {home}/.local/share/app/current/", "ynny"),
        Row("secrets", "cat {home}/.config/hostenv/application.env", "ynny"),
        Row("backup account", "cat {home}/.config/hostenv/backup.env", "ynny"),
        Row("database files", "head -c 1 {home}/.local/share/mysql/ibdata1", "ynny"),
        Row("database socket", f"{_CONNECT} {{run}}/mysql.sock", "ynny"),
        Row(
            "database, as its administrator",
            "{mariadb} --no-defaults --socket={run}/mysql.sock --user={user} -e 'SELECT 1'",
            "ynnn",
        ),
        Row("PHP-FPM socket", f"{_CONNECT} {{run}}/php-fpm.sock", "ynny"),
        Row("web server's socket", f"{_CONNECT} /run/hostenv/nginx/{{user}}/in.sock", "ynyy"),
        Row("service manager", f"{_CONNECT} /run/user/{{uid}}/systemd/private", "ynny"),
        Row("processes: signals", "kill -0 {pid}", "ynny"),
        Row("processes: environment", "cat /proc/{pid}/environ", "ynny"),
        Row("entry of the plan", "grep {user} /var/lib/hostenv/slice.json", "nnny"),
        Row("records of environments", "ls /var/lib/hostenv/environments", "nnny"),
        Row(
            "entry of the plan in the Nix store",
            # of what comin fetched: a store in which the machines were built holds the tests, too
            "grep -rF {user} $(dirname /nix/store/*-source/provider.json)"
            " /nix/store/*hostenv-node-[ab]* /nix/store/*-node-node-[ab]",
            "nnnn",
        ),
        Row("freeze: lifting it", "test -w /var/lib/hostenv/freeze", "nnny"),
        Row("virtual hosts: reading them", "grep {user} /var/lib/hostenv/nginx/{user}.conf", "nnyy"),
        Row("virtual hosts: changing them", "test -w /var/lib/hostenv/nginx", "nnny"),
        Row("jobs on this node", "ls /var/lib/hostenv/jobs /var/lib/hostenv/spool", "nnny"),
        Row("node's token", "cat {token}", "nnny"),
        Row("comin's control socket", f"{_CONNECT} /var/lib/comin/grpc.sock", "nnny"),
        Row("activation: starting it", "systemctl start hostenv-activate.service", "nnny"),
        Row("job: starting its unit", "systemctl start hostenv-job@none.service", "nnny"),
    ),
)

ON_THE_PROVIDER = Table(
    "on the provider",
    ("operator (root)", "the service's user", "nginx", "any other account"),
    (
        Row(
            "the service's socket: start jobs, see all",
            f"{_CONNECT} /run/hostenv-provider/hostenv-provider.sock",
            "yyyn",
        ),
        Row("Git's socket", f"{_CONNECT} /run/hostenv-git.sock", "yyyn"),
        Row("the backup server's socket", f"{_CONNECT} /run/hostenv-backups/repositories.sock", "yyyn"),
        Row("node tokens", f"cat {_DATA}/tokens.json", "yynn"),
        Row("a node's token by command", "hostenv-provider comin-tokens --show node-a", "yynn"),
        Row("environments' secrets", f"cat {_DATA}/secrets/{{user}}.json", "yynn"),
        Row("nodes' accounts of backups", f"cat {_DATA}/backup-accounts/{{user}}.json", "yynn"),
        Row("webhook secrets", f"ls {_DATA}/webhooks", "yynn"),
        Row("job database", f"head -c 1 {_DATA}/provider.sqlite3", "yynn"),
        Row("repositories as files", f"ls {_DATA}/git", "yynn"),
        Row("backups as files", f"ls {_DATA}/backups", "yynn"),
    ),
)

_JOBS = "http://provider/api/jobs"

FROM_THE_NETWORK = Table(
    "over the network, about an environment",
    ("the node that hosts it", "another node", "without a token"),
    (
        Row(
            "the node's own intents",
            _answers("200", "'http://provider/api/deploy-intents/pending?sha={sha}&node={node}'"),
            "yyn",
        ),
        Row(
            "another node's intents",
            _answers("200", "'http://provider/api/deploy-intents/pending?sha={sha}&node={other}'"),
            "nnn",
        ),
        Row(
            "the environment's secrets",
            _answers("200", "'http://provider/api/environments/{user}/secrets?node={node}'"),
            "ynn",
        ),
        Row(
            "a job's actions",
            _answers("200", "'http://provider/api/deploy-jobs/{job}/actions?node={node}'"),
            "ynn",
        ),
        Row(
            "an event in a node's own name",
            # A job that has ended knows its nodes and tells them so; of others it does not even know.
            _answers("409", '-d \'{{"node": "{node}"}}\' http://provider/api/deploy-jobs/{job}/events'),
            "ynn",
        ),
        Row(
            "an event in another node's name",
            _answers("409", '-d \'{{"node": "{other}"}}\' http://provider/api/deploy-jobs/{job}/events'),
            "nnn",
        ),
        Row("read the node's own repository", _git("ls-remote http://provider/git/nodes/{node}.git"), "yyn"),
        Row("read another node's repository", _git("ls-remote http://provider/git/nodes/{other}.git"), "nnn"),
        Row("read the provider's repository", _git("ls-remote http://provider/git/provider.git"), "nnn"),
        Row(
            "the node's own part of the plan",
            # Of node-a's hash, which tells another node nothing of its own.
            _answers("200", "'http://provider/api/nodes/{node}/slice?sha256={slice}'"),
            "ynn",
        ),
        Row("read the project's repository", _git("ls-remote http://provider/git/{project}.git"), "ynn"),
        Row(
            "write a repository",
            _git("-C /tmp/clone push http://provider/git/nodes/{node}.git HEAD:main"),
            "nnn",
        ),
        Row("list jobs", _answers("200", _JOBS), "nnn"),
        Row("start a job", _answers("202", f'-d \'{{{{"environment": "{{user}}"}}}}\' {_JOBS}'), "nnn"),
        Row("health", _answers("200", "http://provider/health"), "nnn"),
    ),
)

_NAME = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
# what has these names as its hash; what is there already cannot be added again
_ADDED = f"data/{_NAME} --data-binary x"
_ADDED_LATER = "data/a1fce4363854ff888cff4b8e7875d600c2682390412a8cf79b37d0b11148b0fa --data-binary y"

OF_BACKUPS = Table(
    "of an environment's backups, over the network",
    ("its own account", "another environment's account", "without an account"),
    (
        Row("read", _backup("GET", "config", "4*|5*|000"), "ynn"),
        Row("add", _backup("POST", _ADDED_LATER, "4*|5*|000"), "ynn"),
        Row("remove (repositories only grow)", _backup("DELETE", "config", "4*|5*|000"), "nnn"),
        Row("add a key (keys are the provider's)", _backup("POST", f"keys/{_NAME}", "4*|5*|000"), "nnn"),
    ),
)

OF_A_FORMER_NODE = Table(
    "after a move, of the environment",
    ("the node that hosts it", "the one before"),
    (
        Row("log in as it", "su - {user} -c true", "yn"),
        Row("anything that runs as it", "ps -u {user} -o pid=", "yn"),
        Row("jobs of cron", "test -e /var/spool/cron/crontabs/{user}", "yn"),
        Row("keys of its people", "test -e {home}/.ssh/authorized_keys", "yn"),
        Row(
            "its secrets",
            _answers("200", "'http://provider/api/environments/{user}/secrets?node={node}'"),
            "yn",
        ),
        Row("read its backups, by the node's account", _backup("GET", "config", "4*|5*|000"), "yn"),
        Row("add to its backups, by the node's account", _backup("POST", _ADDED, "4*|5*|000"), "yn"),
        Row("read the project's repository", _git("ls-remote http://provider/git/{project}.git"), "yn"),
    ),
)

TABLES: Sequence[Table] = (ON_A_NODE, ON_THE_PROVIDER, FROM_THE_NETWORK, OF_BACKUPS, OF_A_FORMER_NODE)
