"""What hostenv relies on in comin: passed by comin 0.13.0 and by the lab's stand-in for it.

    pytest tests/conformance [--comin PROGRAM]

Needs root and mmdebstrap, for the lab's Debian image.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from comin_machine import HOST, TOKEN, CominMachine
from hostenv_lab import description, image
from hostenv_lab.program import write_program

ROOT = Path(__file__).resolve().parents[2]


pytestmark = pytest.mark.machine


@pytest.fixture(scope="session")
def image_root() -> Path:
    if shutil.which("mmdebstrap") is None:
        pytest.skip("needs mmdebstrap")
    return image.ensure(description.load(ROOT / "pkgs/hostenv-demo/machines/machines.toml").image, print).root


@pytest.fixture(scope="session")
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = request.config.getoption("comin", None)
    if given is not None:
        return Path(given).resolve()
    path = tmp_path_factory.mktemp("comin") / "comin"
    write_program(ROOT / "pkgs/hostenv-lab/hostenv_lab/comin_standin", path)
    return path


@pytest.fixture
def machine(program: Path, image_root: Path) -> Iterator[CominMachine]:
    machine = CominMachine(program, image_root)
    try:
        yield machine
    finally:
        machine.remove()


def deploy(machine: CominMachine, label: str) -> str:
    """Pushes and fetches a commit and waits until it is deployed, hook included; returns its id."""
    commit = machine.push(label)
    machine.fetch()
    machine.until(
        lambda: machine.deployed()[-1:] == [commit] and machine.idle(), f"the deployment of {label}"
    )
    return commit


def test_the_first_fetch_is_one_period_after_the_start(machine: CominMachine) -> None:
    commit = machine.push("a")
    started = time.monotonic()
    machine.start(period=2)
    machine.until(lambda: machine.deployed() == [commit], "a deployment without a call of fetch")
    assert machine.server.first_request is not None
    assert machine.server.first_request - started >= 2


def test_fetch_fetches_at_once(machine: CominMachine) -> None:
    commit = machine.push("a")
    machine.start()
    assert machine.repository()["selected_commit_id"] == ""
    machine.fetch()
    machine.until(lambda: machine.deployed() == [commit], "the deployment")
    assert machine.repository()["selected_commit_id"] == commit
    assert machine.repository()["main_commit_id"] == commit


def test_a_deployment_runs_these_commands(machine: CominMachine) -> None:
    machine.start()
    commit = deploy(machine, "a")
    common = ["--extra-experimental-features", "flakes nix-command", "--accept-flake-config"]
    place = f'git+file:///test/state/repository?dir=.&rev={commit}#nixosConfigurations."{HOST}".config'
    generation = machine.generation()
    assert machine.commands("nix") == [
        [*common, "derivation", "show", f"{place}.system.build.toplevel", "-L", "--show-trace"],
        [*common, "eval", f"{place}.services.comin.machineId", "--json"],
        [*common, "build", f"{generation['drv_path']}^*", "-L", "--no-link"],
    ]
    profile = "/nix/var/nix/profiles/system-profiles/comin"
    assert machine.commands("nix-env") == [["--profile", profile, "--set", generation["out_path"]]]
    assert machine.commands("systemctl") == [["cat", "comin.service"]] * 2
    assert machine.switches() == ["a switch"]
    assert not [argument for call in machine.commands("git") for argument in call if TOKEN in argument]


def test_switch_and_hook_get_their_facts_from_the_environment(machine: CominMachine) -> None:
    machine.start()
    commit = deploy(machine, "a")
    switch = machine.file("log/switch-environment").read_text()
    assert "COMIN_CONFORMANCE=1" in switch
    assert "COMIN_GIT_SHA" not in switch
    generation = machine.generation()
    assert machine.hooks() == [
        {
            "COMIN_CONFORMANCE": "1",
            "COMIN_GIT_SHA": commit,
            "COMIN_GIT_REF": "origin/main",
            "COMIN_GIT_MSG": "deploy a",
            "COMIN_HOSTNAME": HOST,
            "COMIN_GENERATION": generation["uuid"],
            "COMIN_STATUS": "done",
            "COMIN_ERROR_MSG": "",
        }
    ]


def test_of_two_pushes_in_one_period_the_newest_is_evaluated(machine: CominMachine) -> None:
    machine.start()
    machine.push("a")
    newest = deploy(machine, "b")
    assert machine.evaluations() == [newest]
    assert machine.switches() == ["b switch"]


def test_a_push_during_a_build_takes_its_place(machine: CominMachine) -> None:
    machine.start()
    machine.file("hold-build-a").touch()
    machine.push("a")
    machine.fetch()
    machine.until(machine.file("log/building-a").exists, "the build of a")
    newest = deploy(machine, "b")
    assert machine.switches() == ["b switch"]
    assert machine.deployed() == [newest]


def test_a_failed_evaluation_is_not_repeated_before_a_new_commit_or_a_restart(machine: CominMachine) -> None:
    machine.start()
    broken = machine.push("a", flake='{ outputs = _: throw "broken on purpose"; }\n')
    machine.fetch()
    machine.until(lambda: machine.generation()["eval_status"] == "failed", "the failure")
    assert machine.generation()["eval_err"] != ""
    assert machine.generation()["selected_commit_id"] == broken
    machine.fetch()
    machine.fetch()
    assert machine.evaluations() == [broken]
    machine.kill()
    machine.start()
    machine.fetch()
    machine.until(lambda: machine.evaluations() == [broken, broken], "an evaluation after the restart")
    good = deploy(machine, "b")
    assert machine.deployed() == [good]


def test_a_failed_build_is_not_repeated_before_a_new_commit_or_a_restart(machine: CominMachine) -> None:
    machine.start()
    machine.file("fail-build-a").touch()
    broken = machine.push("a")
    machine.fetch()
    machine.until(lambda: machine.generation()["build_status"] == "failed", "the failure")
    assert machine.generation()["build_err"] != ""
    machine.fetch()
    machine.fetch()
    assert machine.evaluations() == [broken]
    machine.file("fail-build-a").unlink()
    machine.kill()
    machine.start()
    machine.fetch()
    machine.until(lambda: machine.deployed() == [broken], "the deployment after the restart")
    assert machine.switches() == ["a switch"]


def test_a_failed_switch_is_told_to_the_hook_and_keeps_the_profile(machine: CominMachine) -> None:
    machine.start()
    machine.file("fail-switch").touch()
    commit = deploy(machine, "a")
    [hook] = machine.hooks()
    # 0.13.0 says done, later versions say failed; the message is what tells.
    assert hook["COMIN_STATUS"] in ("done", "failed")
    assert hook["COMIN_ERROR_MSG"] != ""
    deployment = machine.status()["deployer"]["deployment"]
    assert deployment["error_msg"] != ""
    assert deployment["generation"]["selected_commit_id"] == commit
    profiles = machine.folder / "upper/nix/var/nix/profiles/system-profiles"
    assert os.readlink(profiles / os.readlink(profiles / "comin")) == machine.generation()["out_path"]
    machine.fetch()
    machine.fetch()
    assert machine.switches() == ["a switch"]


def waiting_for_its_turn(machine: CominMachine, label: str) -> str:
    """Pushes and fetches a commit that has to wait for the deployment before it; returns its id."""
    commit = machine.push(label)
    machine.fetch()
    machine.until(lambda: machine.waiting_commit() == commit, f"{label} to wait for its deployment")
    return commit


def test_while_the_hook_runs_the_newest_commit_is_built_and_waits(machine: CominMachine) -> None:
    machine.start()
    machine.file("hold-hook").touch()
    first = machine.push("a")
    machine.fetch()
    machine.until(lambda: machine.deployed() == [first], "the first call of the hook")
    waiting_for_its_turn(machine, "b")
    newest = waiting_for_its_turn(machine, "c")
    assert machine.switches() == ["a switch"]
    machine.file("hold-hook").unlink()
    machine.until(lambda: machine.deployed() == [first, newest], "the deployment of the newest")
    assert machine.switches() == ["a switch", "c switch"]


@pytest.mark.parametrize("hook", ["/test/hook", "/test/no-such-hook"])
def test_a_failing_or_missing_hook_stops_nothing(machine: CominMachine, hook: str) -> None:
    machine.file("fail-hook").touch()
    machine.start(hook=hook)
    machine.push("a")
    machine.fetch()
    machine.until(lambda: machine.switches() == ["a switch"] and machine.idle(), "the first deployment")
    machine.push("b")
    machine.fetch()
    machine.until(lambda: "b switch" in machine.switches() and machine.idle(), "the second deployment")
    assert machine.switches() == ["a switch", "b switch"]


@pytest.mark.parametrize("step", ["profile", "switch"])
def test_a_deployment_that_was_killed_is_not_repeated(machine: CominMachine, step: str) -> None:
    machine.start()
    before = [deploy(machine, "a"), deploy(machine, "b")]
    machine.file(f"hold-{step}").touch()
    machine.file("log/profile").unlink()
    killed = machine.push("c")
    machine.fetch()
    reached = (
        machine.file("log/profile").exists if step == "profile" else lambda: "c switch" in machine.switches()
    )
    machine.until(reached, f"the {step} of c")
    machine.kill()
    machine.file(f"hold-{step}").unlink()
    machine.start()
    machine.fetch()
    machine.until(
        lambda: (
            machine.generation()["selected_commit_id"] == killed
            and machine.generation()["build_status"] == "built"
        ),
        "the evaluation after the restart",
    )
    machine.fetch()
    next_one = deploy(machine, "d")
    assert machine.deployed() == [*before, next_one]
    assert machine.switches().count("c switch") == (step == "switch")


def test_a_restart_deploys_nothing_again(machine: CominMachine) -> None:
    machine.start()
    commits = [deploy(machine, "a"), deploy(machine, "b")]
    machine.kill()
    machine.start()
    assert machine.repository()["main_commit_id"] == commits[-1]
    machine.fetch()
    machine.until(lambda: machine.generation()["build_status"] == "built", "the evaluation after the restart")
    commits.append(deploy(machine, "c"))
    assert machine.deployed() == commits
    assert machine.switches() == ["a switch", "b switch", "c switch"]


def test_a_rewritten_branch_is_refused_for_good(machine: CominMachine) -> None:
    machine.start()
    kept = [deploy(machine, "a"), deploy(machine, "b")]
    machine.push("x", force=True)
    machine.fetch()
    machine.until(
        lambda: "hard reset" in machine.repository()["remotes"][0]["main"]["error_msg"], "the refusal"
    )
    machine.push("y")
    machine.fetch()
    machine.kill()
    machine.start()
    machine.fetch()
    machine.until(
        lambda: "hard reset" in machine.repository()["remotes"][0]["main"]["error_msg"], "the refusal"
    )
    assert machine.deployed() == kept
    assert machine.evaluations() == kept


def test_an_unreachable_remote_is_tried_again_at_each_poll(machine: CominMachine) -> None:
    machine.server.available = False
    commit = machine.push("a")
    machine.start(period=1)
    machine.until(lambda: machine.repository()["remotes"][0]["fetch_error_msg"] != "", "a fetch error")
    machine.server.available = True
    machine.until(lambda: machine.deployed() == [commit], "the deployment after the recovery")
    assert machine.repository()["remotes"][0]["fetch_error_msg"] == ""


def test_going_back_to_the_last_but_one_toplevel_is_skipped(machine: CominMachine) -> None:
    machine.start()
    commits = [deploy(machine, "a"), deploy(machine, "b")]
    back = machine.push("a")
    machine.fetch()
    machine.until(
        lambda: (
            machine.generation()["selected_commit_id"] == back
            and machine.generation()["build_status"] == "built"
        ),
        "the evaluation of the step back",
    )
    commits.append(deploy(machine, "c"))
    assert machine.deployed() == commits
    assert machine.switches() == ["a switch", "b switch", "c switch"]


def test_another_machine_id_is_not_built(machine: CominMachine) -> None:
    machine.start()
    foreign = machine.push("a", machine_id='"another"')
    machine.fetch()
    machine.until(lambda: machine.generation()["eval_status"] == "evaluated", "the evaluation")
    good = deploy(machine, "b")
    assert machine.evaluations() == [foreign, good]
    assert machine.deployed() == [good]
    assert not machine.file("log/building-a").exists()


def test_a_changed_unit_of_its_own_ends_comin_after_the_hook(machine: CominMachine) -> None:
    machine.start()
    machine.file("hold-switch").touch()
    commit = machine.push("a")
    machine.fetch()
    machine.until(lambda: machine.switches() == ["a switch"], "the switch")
    machine.file("unit").write_text("[Service]\nNice=1\n")
    machine.file("hold-switch").unlink()
    machine.until(lambda: machine.exit_code() is not None, "comin to end")
    assert machine.exit_code() == 0
    assert machine.deployed() == [commit]


def test_without_a_daemon_the_client_fails(machine: CominMachine) -> None:
    machine.start()
    machine.kill()
    with pytest.raises(AssertionError):
        machine.status()
