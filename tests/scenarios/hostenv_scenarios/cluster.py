"""A provider and its nodes, as operators and Git hosts use them."""

import base64
import importlib.resources
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hostenv_scenarios.driver import Log, Machine, Retry, ScenarioFailed, Subtest, quote
from hostenv_scenarios.site import Site

Job = dict[str, Any]
SOCKET = "/run/hostenv-provider/hostenv-provider.sock"
REPOSITORY = "/var/lib/hostenv-provider/git/provider.git"
BACKUPS = "/var/lib/hostenv-provider/backups"
FOLDER = "/run/hostenv-scenarios"
FRONT_DOOR = "/var/lib/hostenv/nginx"
FRONT_DOOR_PROBE = "/.well-known/hostenv-front-door"
ENDED = ("succeeded", "failed", "superseded")
_AS_PROVIDER = "runuser -u hostenv-provider --"
_COMMIT = "git -c user.name=Demo -c user.email=demo@hostenv.test"


@dataclass(frozen=True)
class Cluster:
    """The machines of the scenarios and the driver's own functions."""

    provider: Machine
    nodes: Mapping[str, Machine]
    log: Log
    retry: Retry
    subtest: Subtest

    # -- setting up -----------------------------------------------------------------------------------------

    def set_up(self) -> None:
        """From machines that are off to nodes that follow an empty provider repository."""
        for machine in (self.provider, *self.nodes.values()):
            machine.start()
        for machine in (self.provider, *self.nodes.values()):
            machine.wait_for_unit("multi-user.target", None, 300)
        addresses = {name: self.provider.succeed(f"getent ahostsv4 {name}").split()[0] for name in self.nodes}
        nodes = " ".join(f"--node {name}={address}" for name, address in addresses.items())
        self.provider.succeed(
            f"hostenv-provider init --hostname demo.hostenv.test {nodes}",
            "systemctl start hostenv-provider.service hostenv-git.socket hostenv-backups.service",
            "systemctl start nginx.service",
            "hostenv-provider comin-tokens",
        )
        for name, machine in self.nodes.items():
            token = self._unlogged(self.provider, f"hostenv-provider comin-tokens --show {name}").strip()
            self._unlogged(
                machine,
                f"umask 377 && echo {quote(token)} > /etc/hostenv/node-token.new"
                " && mv /etc/hostenv/node-token.new /etc/hostenv/node-token",
            )

    def add_site(self, site: Site) -> None:
        """Bring a site with the seed's data to the first node."""
        self.provider.succeed(
            f"cp -rL /etc/hostenv-demo/project {site.folder}",
            f"chmod -R u+w {site.folder}",
            f"sed -i s/demo.hostenv.local/{site.extra_host}/ {site.folder}/flake.nix",
            f"chown -R hostenv-provider: {site.folder}",
            f"{_AS_PROVIDER} git -C {site.folder} init --quiet --initial-branch main",
        )
        self.commit(site, "A site of our own")
        self.provider.succeed(
            f"hostenv-provider project add {site.project} git+file://{site.folder} --open-webhook"
            f" --host {site.extra_host}",
            "hostenv-provider plan",
        )
        self.demand(self.fire_webhook(site), "succeeded", 300)
        node = self.nodes[self.deployed(site)]
        self.as_environment(node, site, "zcat /etc/hostenv-demo/seed/seed.sql.gz | mysql")
        self.as_environment(
            node, site, "cp -rL --no-preserve=mode /etc/hostenv-demo/seed/files/. ~/.local/share/files/"
        )

    # -- people and Git hosts -------------------------------------------------------------------------------

    def commit(self, site: Site, message: str) -> None:
        """Record in the project's repository whatever its folder holds now, with one file that differs."""
        self.provider.succeed(
            f"date +%s%N > {site.folder}/changed",
            f"chown -R hostenv-provider: {site.folder}",
            f"{_AS_PROVIDER} git -C {site.folder} add --all",
            f"{_AS_PROVIDER} {_COMMIT} -C {site.folder} commit --quiet --message {quote(message)}",
        )

    def fire_webhook(self, site: Site) -> str:
        """Send what a Git host sends after a push; returns the job's id."""
        return self.fire_webhooks(site, 1)[0]

    def fire_webhooks(self, site: Site, count: int) -> list[str]:
        """The same many times at once. Raises ScenarioFailed when one is not accepted."""
        data = quote(json.dumps({"ref": "refs/heads/main"}))
        answers = self.provider.succeed(
            f"for i in $(seq {count}); do curl -fsS -H 'Content-Type: application/json'"
            f" --data {data} http://provider/webhook/{site.hash} & done; wait"
        )
        # `wait` tells nothing of those it waited for
        if len(answers.splitlines()) != count:
            raise ScenarioFailed(f"not every one of {count} webhooks was accepted: {answers}")
        return [str(json.loads(line)["jobId"]) for line in answers.splitlines()]

    def migrate(self, site: Site, node: str) -> str:
        """Ask for a move; returns the job's id."""
        return self.provider.succeed(f"hostenv-provider migrate {site.user} --to {node}").strip()

    def operator_changes(self, edit: str) -> None:
        """Push a commit to the provider's repository: `edit` is a shell command run in a clone of it."""
        clone = "/tmp/operator"
        self.provider.succeed(
            f"rm -rf {clone}",
            f"{_AS_PROVIDER} git clone --quiet {REPOSITORY} {clone}",
            f"cd {clone} && {_AS_PROVIDER} sh -ec {quote(edit)}",
            f"{_AS_PROVIDER} {_COMMIT} -C {clone} commit --quiet --all --message 'An operator was here'",
            f"{_AS_PROVIDER} git -C {clone} push --quiet",
        )

    def cancel(self, job_id: str) -> None:
        """Give a job up before its commit point."""
        self.provider.succeed(f"hostenv-provider cancel {job_id}")

    def place(self, site: Site, node: str) -> None:
        """Push another placement to the provider's repository; the next webhook brings it about."""
        edit = (
            "import json; path = 'provider.json'; settings = json.load(open(path));"
            f" settings['environments'] = {{'{site.user}': {{'node': '{node}'}}}};"
            " json.dump(settings, open(path, 'w'), indent=2)"
        )
        self.operator_changes(quote("python3", "-c", edit))

    @contextmanager
    def service_with(self, variables: Mapping[str, str], restart: bool = True) -> Iterator[None]:
        """provider-service with more environment variables; it is started again before and after.

        Without `restart` systemd leaves it dead when it dies.
        """
        folder = "/run/systemd/system/hostenv-provider.service.d"
        lines = ["[Service]", *(f"Environment={name}={value}" for name, value in variables.items())]
        if not restart:
            lines.append("Restart=no")
        text = quote("\n".join(lines) + "\n")
        try:
            self.provider.succeed(
                f"mkdir -p {folder} && printf %s {text} > {folder}/scenario.conf",
                "systemctl daemon-reload && systemctl restart hostenv-provider.service",
            )
            yield
        finally:
            self.provider.succeed(
                f"rm -f {folder}/scenario.conf && systemctl daemon-reload",
                "systemctl restart hostenv-provider.service",
            )

    def shut_front_door(self, node: str) -> None:
        """Every page of the node is answered 502, as of an application that is not up: verification waits.

        Its own probes, the freeze and unknown host names are answered as ever. Booting opens it again.
        """
        # No answer's head is so short.
        self.nodes[node].succeed(
            f"echo 'proxy_buffer_size 16;' > {FRONT_DOOR}/scenario.conf", "systemctl reload nginx.service"
        )

    def open_front_door(self, node: str) -> None:
        """Pages of the node are answered again."""
        self.nodes[node].succeed(f"rm {FRONT_DOOR}/scenario.conf", "systemctl reload nginx.service")

    @contextmanager
    def between_polls(self) -> Iterator[None]:
        """What happens in the block happens between two looks of every node's comin at its repository."""
        try:
            for machine in self.nodes.values():
                machine.succeed("systemctl kill --signal=STOP comin.service")
            yield
        finally:
            for machine in self.nodes.values():
                machine.succeed("systemctl kill --signal=CONT comin.service")

    # -- jobs -----------------------------------------------------------------------------------------------

    def job(self, job_id: str) -> Job | None:
        """The job as the service's socket shows it, None while the service does not answer."""
        return self._changed_job(job_id, "")[0]

    def _changed_job(self, job_id: str, known: str) -> tuple[Job | None, str]:
        """The job and its tag; while the tag is the `known` one, the answer is held back for some seconds."""
        wait = f" -H 'If-None-Match: {known}'" if known else ""
        status, text = self.provider.execute(
            f"curl -fsS --max-time 20 --unix-socket {SOCKET}{wait} -w '\\n%header{{etag}}'"
            f" http://service/api/jobs/{job_id}{'?wait=5' if known else ''} 2>/dev/null"
        )
        if status != 0:
            return None, ""
        document, _, tag = text.rpartition("\n")
        job: Job = json.loads(document)
        return job, tag

    def wait_for_job(self, job_id: str, wish: str, come: Callable[[Job], bool], limit: int) -> Job:
        """The job once it is as wished; `limit` in seconds. Raises ScenarioFailed."""
        last: Job | None = None
        tag = ""

        def look(_final: bool) -> bool:
            nonlocal last, tag
            job, tag = self._changed_job(job_id, tag)
            last = job or last
            return last is not None and come(last)

        try:
            self.retry(look, limit)
        except Exception as error:
            rows = json.dumps(last, indent=1) if last else "the service does not answer"
            raise ScenarioFailed(f"job {job_id} has no {wish} after {limit} s: {rows}") from error
        assert last is not None
        return last

    def wait_for_action(self, job_id: str, node: str, op: str, status: str, limit: int = 180) -> None:
        """Wait until an action of the job has this status. Raises ScenarioFailed."""

        def come(job: Job) -> bool:
            return any(
                (row["node"], row["op"], row["status"]) == (node, op, status) for row in job["actions"]
            )

        self.wait_for_job(job_id, f"{status} {op} on {node}", come, limit)

    def verdict(self, job_id: str, limit: int) -> Job:
        """The job once it has ended. Raises ScenarioFailed."""
        return self.wait_for_job(job_id, "verdict", lambda job: job["state"] in ENDED, limit)

    def demand(self, job_id: str, state: str, limit: int) -> Job:
        """The job once it has ended as it should. Raises ScenarioFailed."""
        job = self.verdict(job_id, limit)
        if job["state"] != state:
            raise ScenarioFailed(f"job {job_id} is {job['state']}, not {state}: {job['reason']}")
        return job

    # -- what sites hold ------------------------------------------------------------------------------------

    def as_environment(self, machine: Machine, site: Site, command: str) -> str:
        """Run a command in a login shell of the site's user; it fails as the driver's own commands do."""
        return machine.succeed(quote("su", "-", site.user, "-c", f"set -euo pipefail; {command}"))

    def serving(self, site: Site) -> list[str]:
        """The nodes whose front doors answer for the site, whatever becomes of what is behind them."""
        answers = {
            name: self.provider.execute(
                f"curl -s -o /dev/null --max-time 20 -w '%{{http_code}}' -H 'Host: {site.host}'"
                f" http://{name}{FRONT_DOOR_PROBE}"
            )[1]
            for name in self.nodes
        }
        return [name for name, status in answers.items() if status.strip() != "000"]

    def deployed(self, site: Site) -> str:
        """The one node that serves the site. Raises ScenarioFailed."""
        serving = self.serving(site)
        if len(serving) != 1:
            raise ScenarioFailed(f"{site.user} is served by {serving or 'no node'}, not by one")
        return serving[0]

    def writable(self, site: Site, node: str, limit: int) -> None:
        """Wait until the site accepts a write on a node."""
        self.provider.wait_until_succeeds(
            f"curl -s -o /dev/null --max-time 20 -w '%{{http_code}}' -H 'Host: {site.host}'"
            f" --data note=probe http://{node}/notes | grep -qx 201",
            limit,
        )

    def notes(self, site: Site, node: str) -> dict[str, int]:
        """How often each visitor's note stands in the database."""
        query = "SELECT note, COUNT(*) FROM hostenv_demo_note WHERE note <> 'probe' GROUP BY note"
        rows = self.as_environment(self.nodes[node], site, f'mysql -N -e "{query}"')
        return {note: int(count) for note, count in (row.split("\t") for row in rows.splitlines())}

    def content(self, site: Site, node: str) -> dict[str, str]:
        """A checksum of each table that visitors do not write to and of each public file."""
        machine = self.nodes[node]
        tables = self.as_environment(machine, site, "mysql -N -e 'SHOW TABLES'").split()
        kept = [name for name in tables if re.fullmatch(r"hostenv_demo_(?!note$).*", name)]
        sums = self.as_environment(machine, site, f"mysql -N -e 'CHECKSUM TABLE {', '.join(kept)}'")
        files = self.as_environment(
            machine,
            site,
            "cd ~/.local/share/files && find . -type f -not -path './php/*' -not -path './css/*' -not -path"
            " './js/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum",
        )
        content = dict(line.split("\t") for line in sums.splitlines())
        for line in files.splitlines():
            digest, path = line.split(maxsplit=1)
            content[path] = digest
        if not kept or not files:
            raise ScenarioFailed(f"{site.user} on {node} has no content to compare: {content}")
        return content

    # -- programs -------------------------------------------------------------------------------------------

    def install(self, machine: Machine, program: str) -> str:
        """Put one of `programs` on a machine; returns the command that starts it."""
        text = (importlib.resources.files("hostenv_scenarios.programs") / f"{program}.py").read_bytes()
        path = f"{FOLDER}/{program}.py"
        packed = base64.b64encode(text).decode()
        self._unlogged(machine, f"mkdir -p {FOLDER} && echo {packed} | base64 -d > {path}")
        # a unit's PATH may lack what this one has
        python = machine.succeed("command -v python3").strip()
        return f"{python} {path}"

    def _unlogged(self, machine: Machine, command: str) -> str:
        """What a command prints that is secret or long. Raises ScenarioFailed."""
        # `execute` logs nothing, neither here nor in its failure
        status, output = machine.execute(command)
        if status != 0:
            raise ScenarioFailed(f"{machine.name}: {command.split()[0]} … failed with exit code {status}")
        return output
