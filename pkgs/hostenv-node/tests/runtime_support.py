"""A plan's entry, the programs that the runtime's tests really run, and the machine that they play."""

import copy
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hostenv_core.intents import Action
from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment.layout import Layout
from hostenv_node.environment.steps import Backup, FindLosses, Step
from hostenv_node.jobs.operations import Context
from hostenv_node.runtime.operations import Runtime
from hostenv_node.runtime.record import Phase

USER = "drupal-main-2855093"
HOST = f"{USER}.demo.hostenv.test"
REV = "a" * 40
NAR_HASH = "sha256-" + "A" * 43 + "="
SNAPSHOT = "ab" * 32
FPM = "phpfpm-drupal.service"

TOOLS = {
    "git": ("git",),
    "nginx": ("nginx",),
    "mariadb": ("mariadb",),
    "mariadbd": ("mariadbd",),
    "mariadb-dump": ("mariadb-dump",),
    "mariadb-backup": ("mariadb-backup",),
    "mariadb-binlog": ("mariadb-binlog",),
    "mariadb-install-db": ("mariadb-install-db",),
    "php": ("php",),
    "php-fpm": ("php-fpm", "php-fpm8.2", "php-fpm8.4"),
    "restic": ("restic",),
    "tar": ("tar",),
    "hostenv-node": ("hostenv-node",),
}

_ENTRY: dict[str, Any] = {
    "enable": True,
    "uid": 1002,
    "node": "node-b",
    "migrations": ["drupal-migrate"],
    "application": {"name": "drupal", "docroot": "web", "profile": "hostenv_demo"},
    "virtualHosts": {"demo.hostenv.local": {}},
    "repo": {"url": "git+file:///srv/project", "ref": "main", "rev": REV, "narHash": NAR_HASH},
    "hostenv": {"organisation": "demo", "project": "drupal", "userName": USER, "hostname": HOST},
}


def entry() -> dict[str, Any]:
    return copy.deepcopy(_ENTRY)


def program(name: str, *candidates: str) -> str:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return next(
        (found for each in candidates if (found := shutil.which(each, path=path))), f"/missing/{name}"
    )


def mime_types() -> Path:
    """nginx' own list, of Nix' nginx or of Debian's."""
    beside = Path(program("nginx", "nginx")).resolve().parents[1] / "conf/mime.types"
    return beside if beside.is_file() else Path("/etc/nginx/mime.types")


def needs(*candidates: str) -> pytest.MarkDecorator:
    missing = program("", *candidates).startswith("/missing")
    return pytest.mark.skipif(missing, reason=f"{candidates[0]} is not installed")


T = TypeVar("T")


def never() -> bool:
    return False


class Machine:
    """What would happen on a node, in order; `fails` names what goes wrong."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.fails: Mapping[str, Exception] = {}
        self.manager_runs = True
        self.repository = True
        self.open = False
        self.found: object = {}
        self.steps: list[Step] = []
        """What the user's side was asked, in order."""

    def note(self, event: str) -> None:
        self.events.append(event)
        if event in self.fails:
            raise self.fails[event]

    def backup_server(self, _secrets: Mapping[str, str]) -> bool:
        self.note("backup server")
        return self.repository

    def user_apply(
        self, _config: Config, _layout: Layout, _deadline: Deadline, steps: Sequence[Step]
    ) -> Mapping[type[Step], object]:
        for step in steps:
            self.note(type(step).__name__)
            self.steps.append(step)
        return {Backup: {"drupal-migrate": SNAPSHOT}, FindLosses: self.found}

    def asked(self, kind: type[T]) -> list[T]:
        """The steps of one kind, in order."""
        return [step for step in self.steps if isinstance(step, kind)]


class Systemd:
    """What the machine's systemd is told; `systemd-run` runs the program as whoever runs the tests."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "systemd.log"
        scripts = {
            "systemctl": f'echo "systemctl $*" >>{self.log}\n',
            "systemd-run": (
                f'echo "systemd-run $*" >>{self.log}\nvariables=\n'
                'while [ "$1" != -- ]; do\n'
                "  case $1 in\n"
                '    --setenv=*) variables="$variables ${1#--setenv=}" ;;\n'
                '    --working-directory=*) cd "${1#*=}" ;;\n'
                "  esac\n"
                '  shift\ndone\nshift\nexec env -i $variables "$@"\n'
            ),
        }
        self.tools = {name: str(folder / name) for name in scripts}
        for name, script in scripts.items():
            program = Path(self.tools[name])
            program.write_text(f"#!/bin/sh\n{script}")
            program.chmod(0o755)

    def told(self) -> list[list[str]]:
        """Each call's program and arguments."""
        return [line.split() for line in self.log.read_text().splitlines()]


class Systemctl:
    """What `systemctl --user` is told; it answers with the files in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("calls", "units", "jobs", "states", "starting", "result", "nginx", "fpm"):
            (folder / name).write_text("0\n" if name in ("nginx", "fpm") else "")
        self.program = folder / "systemctl"
        self.program.write_text(
            "#!/bin/sh\nshift 2\n"
            f'cd {folder}; echo "$*" >>calls\n'
            'case "$*" in\n'
            "  list-units*) cat units ;;\n"
            "  list-jobs*) cat jobs ;;\n"
            "  *ActiveState*) cat states ;;\n"
            # each look finds one start fewer under way
            "  *SubState*) echo SubState=$(head -1 starting); sed -i 1d starting ;;\n"
            "  *Result*) cat result ;;\n"
            f"  *MainPID*{FPM}) cat fpm ;;\n"
            "  *MainPID*) cat nginx ;;\n"
            "esac\n"
        )
        self.program.chmod(0o755)

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    @contextmanager
    def serving(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """A server with one worker that no reload ends; the server ends with its worker."""
        command = ["sh", "-c", "sleep 3600 & echo; wait"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        try:
            assert server.stdout is not None
            server.stdout.readline()
            (self.folder / name).write_text(f"{server.pid}\n")
            yield server
        finally:
            subprocess.run(["kill", "--", f"-{server.pid}"], check=False, stderr=subprocess.DEVNULL)
            server.communicate(timeout=60)


def context(job: str = "job-1") -> Context:
    return Context(job, Deadline.after(600))


def action(op: str) -> Action:
    return Action(op, USER, "node-a", "node-b", ("drupal-migrate",))


def phase(runtime: Runtime) -> Phase | None:
    record = runtime.records.get(USER)
    return None if record is None else record.phase


def active(runtime: Runtime, machine: Machine, job: str = "job-0") -> None:
    runtime.activate(context(job), action("activate"), entry())
    runtime.thaw(context(job), USER)
    machine.events.clear()
