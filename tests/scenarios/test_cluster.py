"""What the scenarios' helpers make of commands that fail."""

import shlex
import subprocess
from typing import Any, cast

import pytest
from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.driver import Machine, ScenarioFailed
from hostenv_scenarios.site import DRUPAL


class Here:
    """Runs what a machine is told by bash on this host, without the change of user."""

    name = "here"

    def __init__(self, prints: str = "") -> None:
        self._prints = prints

    def execute(self, _command: str) -> tuple[int, str]:
        return 0, ""

    def succeed(self, *commands: str) -> str:
        if self._prints:
            return self._prints
        return "".join(
            subprocess.run(
                ["bash", "-c", shlex.split(command)[-1]],
                check=True,
                timeout=60,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            ).stdout
            for command in commands
        )


def cluster_of(machine: Here) -> Cluster:
    nothing = cast(Any, None)
    provider = cast(Machine, machine)
    return Cluster(provider, {"node-a": provider}, log=nothing, retry=nothing, subtest=nothing)


def test_a_seed_that_cannot_be_unpacked_fails_the_import() -> None:
    machine = Here()
    cluster = cluster_of(machine)
    assert cluster.as_environment(cluster.provider, DRUPAL, "echo dump | cat") == "dump\n"
    with pytest.raises(subprocess.CalledProcessError):
        cluster.as_environment(cluster.provider, DRUPAL, "zcat /nonexistent.sql.gz | cat")


def test_a_webhook_that_is_not_accepted_is_missed() -> None:
    accepted = '{"accepted": true, "jobId": "1"}\n'
    assert cluster_of(Here(accepted)).fire_webhooks(DRUPAL, 1) == ["1"]
    with pytest.raises(ScenarioFailed, match="2 webhooks"):
        cluster_of(Here(accepted)).fire_webhooks(DRUPAL, 2)


def test_a_program_starts_in_a_unit_whose_path_is_another() -> None:
    machine = Here("/run/current-system/sw/bin/python3\n")
    command = cluster_of(machine).install(cast(Machine, machine), "arguments")
    assert command == "/run/current-system/sw/bin/python3 /run/hostenv-scenarios/arguments.py"
