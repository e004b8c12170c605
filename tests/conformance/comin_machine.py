"""A small Debian 13 in which one comin runs, and the repository that it follows.

The root is the lab's image with a layer of its own over it, entered by chroot in new mount and process
namespaces: killing the first process kills everything, as systemd does with a service. What the programs do
is written below `/test`, which host and root share, and where the test leaves files that hold or fail a step.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from git_server import GitServer

LIMIT = 60
HOST = "node-x"
TOKEN = "a-secret-token"

ENTER = """
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mkdir -p "$2/root/test"
mount --bind "$2/test" "$2/root/test"
mount --rbind /dev "$2/root/dev"
mount -t proc proc "$2/root/proc"
cd "$2/root"
exec chroot "$2/root" /usr/bin/env -i PATH=/test/bin:/usr/bin:/usr/sbin HOME=/root COMIN_CONFORMANCE=1 \
  /test/comin run --config /test/comin.yaml
"""

# Each leaves a line in /test/log/commands: the program and its arguments, separated by tabs.
RECORD = """#!/bin/sh
{ printf '%s' "${0##*/}"; for argument; do printf '\\t%s' "$argument"; done; echo; } >> /test/log/commands
"""
WRAPPERS = {
    "nix": 'exec /usr/bin/nix "$@"',
    "git": 'exec /usr/bin/git "$@"',
    "nix-env": """
: > /test/log/profile
while [ -e /test/hold-profile ]; do sleep 0.05; done
exec /usr/bin/nix-env "$@"
""",
    "systemctl": "cat /test/unit",
}

SWITCH = """#!/bin/sh
env > /test/log/switch-environment
echo "$*" >> /test/log/switches
while [ -e /test/hold-switch ]; do sleep 0.05; done
[ ! -e /test/fail-switch ]
"""

HOOK = """#!/bin/sh
number=$(ls /test/log | grep -c '^hook-')
env | grep '^COMIN_' > /test/log/new
mv /test/log/new /test/log/hook-$number
while [ -e /test/hold-hook ]; do sleep 0.05; done
[ ! -e /test/fail-hook ]
"""

FLAKE = """{{
  outputs = _: {{
    nixosConfigurations.{host}.config = {{
      services.comin.machineId = {machine_id};
      system.build.toplevel = derivation {{
        name = "system-{label}";
        system = "{system}";
        builder = "/bin/sh";
        args = [ "-c" ''
          : > /test/log/building-{label}
          while [ -e /test/hold-build-{label} ]; do /bin/sleep 0.05; done
          [ ! -e /test/fail-build-{label} ] || exit 1
          /bin/mkdir -p $out/bin
          printf '#!/bin/sh\\nexec /test/switch {label} "$@"\\n' > $out/bin/switch-to-configuration
          /bin/chmod +x $out/bin/switch-to-configuration
        '' ];
      }};
    }};
  }};
}}
"""


def free_port() -> int:
    """A port of loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class CominMachine:
    """The root, the repository with its server, and the process."""

    def __init__(self, program: Path, image_root: Path) -> None:
        self._image_root = image_root
        self._process: subprocess.Popen[bytes] | None = None
        # Not pytest's folder: its path is too long for a socket's name.
        self.folder = Path(tempfile.mkdtemp(prefix="comin-", dir="/tmp"))
        self.shared = self.folder / "test"
        for name in ("work", "root", "upper/etc/nix", "test/bin", "test/log", "git"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "upper/etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
        (self.folder / "upper/etc/nix/nix.conf").write_text(
            "build-users-group =\nsandbox = false\nsubstituters =\n"
        )
        shutil.copy(program, self.shared / "comin")
        for name, body in WRAPPERS.items():
            self._script(f"bin/{name}", f"{RECORD}{body}\n")
        self._script("switch", SWITCH)
        self._script("hook", HOOK)
        self.file("unit").write_text("[Service]\n")
        self.file("token").write_text(f"{TOKEN}\n")
        self.server = GitServer(self.folder / "git", HOST, TOKEN)
        self._git("init", "--quiet", "--bare", "--initial-branch=main", "git/remote.git")
        self._git("init", "--quiet", "--initial-branch=main", "clone")
        self._git("-C", "clone", "remote", "add", "origin", str(self.folder / "git/remote.git"))

    def _script(self, name: str, text: str) -> None:
        path = self.file(name)
        path.write_text(text)
        path.chmod(0o755)

    def _git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
        command = ["git", *identity, *arguments]
        return subprocess.run(
            command, cwd=self.folder, check=True, capture_output=True, text=True, timeout=60
        ).stdout.strip()

    def file(self, name: str) -> Path:
        """A file of the shared folder."""
        return self.shared / name

    def push(
        self, label: str, flake: str | None = None, machine_id: str = "null", force: bool = False
    ) -> str:
        """Pushes a commit with a toplevel of that name, with `force` over the one before; returns its id."""
        system = f"{platform.machine()}-linux"
        text = flake or FLAKE.format(host=HOST, label=label, system=system, machine_id=machine_id)
        (self.folder / "clone/flake.nix").write_text(text)
        self._git("-C", "clone", "add", "flake.nix")
        amend = ["--amend"] if force else []
        self._git("-C", "clone", "commit", "--quiet", "--allow-empty", *amend, "--message", f"deploy {label}")
        self._git("-C", "clone", "push", "--quiet", *(["--force"] if force else []), "origin", "main")
        return self._git("-C", "clone", "rev-parse", "HEAD")

    def start(self, period: int = 3600, hook: str = "/test/hook") -> None:
        """Starts comin and waits until its control socket answers."""
        self.file("comin.yaml").write_text(self._configuration(period, hook))
        # The whole chain of processes ends with this one, however it ends.
        namespaces = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
        ]
        enter = ["/bin/sh", "-ec", ENTER, "enter", str(self._image_root), str(self.folder)]
        with self.file("log/comin.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*namespaces, *enter], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.until(lambda: self._status().returncode == 0, "an answer on the control socket")

    def _configuration(self, period: int, hook: str) -> str:
        return f"""\
hostname: {HOST}
state_dir: /test/state
repository_type: flake
remotes:
  - name: origin
    url: {self.server.url("remote.git")}
    auth:
      access_token_path: /test/token
      username: {HOST}
    timeout: 30
    poller:
      period: {period}
    branches:
      main:
        name: main
exporter:
  listen_address: 127.0.0.1
  port: {free_port()}
build_confirmer:
  mode: without
deploy_confirmer:
  mode: without
retention:
  deployment_boot_entry_capacity: 3
  deployment_successful_capacity: 3
  deployment_any_capacity: 3
post_deployment_command: {hook}
"""

    def kill(self) -> None:
        """Kills comin and everything it started, and waits for their end."""
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.poll() is not None:
            return
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in map(int, children):
            os.kill(child, signal.SIGKILL)
        process.wait(timeout=30)

    def exit_code(self) -> int | None:
        """How comin ended, `None` while it runs."""
        assert self._process is not None
        return self._process.poll()

    def remove(self) -> None:
        """Ends everything and leaves nothing."""
        self.kill()
        self.server.shutdown()
        self.server.server_close()
        shutil.rmtree(self.folder)

    def _client(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [
            str(self.file("comin")),
            *arguments,
            "--unix-socket-path",
            str(self.file("state/grpc.sock")),
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def _status(self) -> subprocess.CompletedProcess[str]:
        return self._client("status", "--json")

    def status(self) -> dict[str, Any]:
        """What `comin status --json` says."""
        done = self._status()
        assert done.returncode == 0, done.stderr
        status: dict[str, Any] = json.loads(done.stdout)
        return status

    def repository(self) -> dict[str, Any]:
        """The status of the repository."""
        status: dict[str, Any] = self.status()["fetcher"]["repository_status"]
        return status

    def generation(self) -> dict[str, Any]:
        """The status of the newest generation, with empty texts before the first."""
        generation = self.status()["builder"]["generation"]
        empty = dict.fromkeys(("selected_commit_id", "eval_status", "build_status"), "")
        return {**empty, **(generation or {})}

    def fetch(self) -> None:
        """`comin fetch`, and waits until that fetch is over."""
        before = self.repository()["remotes"][0]["fetched_at"]
        assert self._client("fetch").returncode == 0
        self.until(lambda: self.repository()["remotes"][0]["fetched_at"] != before, "the end of a fetch")

    def switches(self) -> list[str]:
        """Label and operation of every switch so far."""
        return self._lines("switches")

    def commands(self, program: str) -> list[list[str]]:
        """The arguments of every call of a program so far."""
        calls = [line.split("\t") for line in self._lines("commands")]
        return [arguments for name, *arguments in calls if name == program]

    def evaluations(self) -> list[str]:
        """The commit of every evaluation so far."""
        calls = [call for call in self.commands("nix") if "derivation" in call]
        return [
            next(part for part in call if "rev=" in part).split("rev=")[1].split("#")[0] for call in calls
        ]

    def _lines(self, name: str) -> list[str]:
        path = self.file(f"log/{name}")
        return path.read_text().splitlines() if path.exists() else []

    def hooks(self) -> list[dict[str, str]]:
        """The `COMIN_*` variables of every call of the hook so far."""
        found = sorted(self.file("log").glob("hook-*"), key=lambda path: int(path.name.split("-")[1]))
        return [dict(line.split("=", 1) for line in path.read_text().splitlines()) for path in found]

    def deployed(self) -> list[str]:
        """The commit of every call of the hook so far."""
        return [hook["COMIN_GIT_SHA"] for hook in self.hooks()]

    def waiting_commit(self) -> str | None:
        """The commit that is built and waits for the end of the deployment under way."""
        generation = self.status()["deployer"]["generation_to_deploy"]
        return generation and str(generation["selected_commit_id"])

    def idle(self) -> bool:
        """Whether no deployment is running; comin writes a false of no deployment yet as null."""
        return not self.status()["deployer"]["is_deploying"]

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Waits for something to hold; fails with comin's log when it does not within `LIMIT` seconds."""
        limit = time.monotonic() + LIMIT
        while not holds():
            tail = "\n".join(self._lines("comin.log")[-25:])
            assert time.monotonic() < limit, f"waited {LIMIT} s for {what}; the log ends:\n{tail}"
            time.sleep(0.05)
