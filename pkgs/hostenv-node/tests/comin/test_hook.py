"""comin's post-deployment command leaves a file, asks systemd, and is done."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hostenv_core.errors import HostenvError
from hostenv_node.comin import spool
from hostenv_node.comin.hook import hand_over
from hostenv_node.comin.spool import Deployment
from hostenv_node.config import Config
from node_support import C1, C2

COMIN = {"COMIN_GIT_SHA": C1, "COMIN_STATUS": "done", "COMIN_ERROR_MSG": ""}


@pytest.fixture
def systemctl(tmp_path: Path) -> Path:
    """A systemctl that notes its arguments, and whether the spool already held the deployment."""
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@ $(ls {tmp_path}/state/spool | wc -l)" >>{tmp_path}/asked\n')
    program.chmod(0o755)
    return program


def test_deployment_is_spooled_before_systemd_is_asked_without_waiting(
    configure: Callable[..., Config], systemctl: Path, tmp_path: Path
) -> None:
    config = configure(tools={"systemctl": str(systemctl)})
    hand_over(config, COMIN)
    assert [entry.deployment for entry in spool.entries(config)] == [Deployment(C1, "done", "")]
    assert (tmp_path / "asked").read_text() == "start --no-block hostenv-activate.service 1\n"


def test_what_comin_says_once_is_on_the_disk_before_the_hook_returns(
    configure: Callable[..., Config], synchronised: list[str]
) -> None:
    spool.add(configure(), Deployment(C1, "done", ""))
    content, folder = synchronised
    assert content.endswith(".json.new")
    assert folder == "spool"


def test_deployments_are_kept_apart_and_in_order(configure: Callable[..., Config]) -> None:
    config = configure()
    for commit in (C2, C1, C2):
        hand_over(
            config, {**COMIN, "COMIN_GIT_SHA": commit, "COMIN_STATUS": "failed", "COMIN_ERROR_MSG": "why"}
        )
    found = spool.entries(config)
    assert [entry.deployment.commit for entry in found] == [C2, C1, C2]
    found[0].remove()
    assert len(spool.entries(config)) == 2


@pytest.mark.parametrize(
    ("deployment", "failed"),
    [
        (Deployment(C1, "done", ""), False),
        (Deployment(C1, "done", "switch: exit status 1"), True),
        (Deployment(C1, "failed", "switch: exit status 1"), True),
        (Deployment(C1, "failed", ""), True),
        (Deployment(C1, "", ""), True),
    ],
)
def test_what_counts_as_a_failed_deployment(deployment: Deployment, failed: bool) -> None:
    assert (deployment.failure is not None) is failed


def test_without_comin_nothing_is_left(configure: Callable[..., Config]) -> None:
    config = configure()
    with pytest.raises(HostenvError, match="COMIN_GIT_SHA"):
        hand_over(config, {"COMIN_STATUS": "done"})
    assert spool.entries(config) == []


def test_foreign_file_in_the_spool_is_named(configure: Callable[..., Config]) -> None:
    config = configure()
    config.spool_dir.mkdir(parents=True)
    (config.spool_dir / "x.json").write_text(json.dumps({"commit": C1}))
    with pytest.raises(HostenvError, match=r"x\.json"):
        spool.entries(config)


def test_command_reports_what_is_missing_in_one_line(tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "HOSTENV_NODE_CONFIG": str(tmp_path / "none.json"),
    }
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from hostenv_node.comin.hook import main; sys.exit(main())"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("hostenv-comin-activate: ")
    assert "none.json" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "module", ["hostenv_node.comin.hook", "hostenv_node.comin.switch", "hostenv_node.cli"]
)
def test_network_library_is_not_imported_where_it_is_not_needed(module: str) -> None:
    program = f"import sys, {module}; sys.exit('requests' in sys.modules or 'ssl' in sys.modules)"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], env=environment, timeout=60, check=True)
