"""Something that happens on a node at an exact moment (`programs/trap.py`)."""

from dataclasses import dataclass

from hostenv_scenarios.cluster import FOLDER, Cluster
from hostenv_scenarios.driver import Machine, quote

_UNIT = "hostenv-scenario-trap"
JOBS = "hostenv-job@*.service"
"""The units of all jobs on a node."""


@dataclass(frozen=True)
class Trap:
    """A trap that is set."""

    machine: Machine
    mark: str

    def wait(self, limit: int = 180) -> None:
        """Wait until it has sprung, at most `limit` seconds."""
        self.machine.wait_until_succeeds(f"test -e {self.mark}", limit)


def set_trap(cluster: Cluster, machine: Machine, signal: str, victim: str, kind: str, what: str) -> Trap:
    """Arrange that `victim`, a unit or `-`, gets the signal when the moment comes."""
    mark = f"{FOLDER}/sprung"
    program = cluster.install(machine, "trap")
    machine.succeed(
        f"systemctl stop {_UNIT}.service 2>/dev/null || true; rm -f {mark} {mark}.set",
        f"systemd-run --quiet --collect --unit {_UNIT} --setenv=PATH=$PATH"
        f" {program} {mark} {signal} {quote(victim)} {kind} {quote(what)}",
    )
    machine.wait_until_succeeds(f"test -e {mark}.set", 60)
    return Trap(machine, mark)


def halt_in(cluster: Cluster, node: str, op: str, process: str | None = None) -> Trap:
    """Arrange that the node's jobs stand still in the middle of an action, until `go_on`.

    That is when the action has begun, or once a process of it runs, which is found by a regular expression.
    """
    kind, what = ("journal", op) if process is None else ("process", process)
    return set_trap(cluster, cluster.nodes[node], "STOP", JOBS, kind, what)


def halt(cluster: Cluster, node: str) -> None:
    """Let the node's jobs, which are under way, stand still from now on, until `go_on`."""
    cluster.nodes[node].succeed(f"systemctl kill --kill-whom=all --signal=STOP {quote(JOBS)}")


def go_on(cluster: Cluster, node: str) -> None:
    """Let jobs that were halted go on."""
    cluster.nodes[node].succeed(f"systemctl kill --kill-whom=all --signal=CONT {quote(JOBS)}")
