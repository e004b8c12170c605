"""The Nix files, where there is a Nix or the lab's image, which has one."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hostenv_lab import description, image

TREE = Path(__file__).parents[2]
SCRIPT = TREE / "tests/nix/check_systems.py"
NO_NIX = 77


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *words], capture_output=True, text=True, timeout=300, check=False
    )


def test_every_nix_file_is_an_expression() -> None:
    done = run()
    if done.returncode == NO_NIX:
        lab = image.find(description.load(TREE / "pkgs/hostenv-demo/machines/machines.toml").image)
        if lab is None:
            pytest.skip(f"{done.stderr.strip()}; the lab's image, which has one, is not made yet")
        done = run("--nix-root", str(lab.root))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_root_without_nix_is_told_from_a_finding(tmp_path: Path) -> None:
    done = run("--nix-root", str(tmp_path))
    assert done.returncode == NO_NIX
    assert "install nix-bin" in done.stderr


def test_one_tree_is_not_enough(tmp_path: Path) -> None:
    done = run("--nixpkgs", str(tmp_path))
    assert done.returncode == 2
    assert "--comin belong together" in done.stderr


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("check_systems")


def test_a_path_of_debians_in_a_unit_is_found(checks: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    findings = checks.Findings()
    checks.check_paths("hostenv-provider", {}, findings)
    said = capsys.readouterr().out
    assert "names /usr/bin/hostenv-provider, which NixOS has not" in said
    assert findings.count == len(said.splitlines())


def test_a_program_that_no_package_has_is_found(
    checks: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    restic = f"/nix/store/{'a' * 32}-restic-1"
    data = {
        "machines": {},
        "programs": [{"pname": "restic", "outputs": [restic], "mainProgram": "restic"}],
        "paths": {"node": {"/usr/bin/a": f"{restic}/bin/restic", "/usr/bin/b": f"{restic}/bin/rest"}},
    }
    checks.check_store_paths(data, tmp_path, checks.Findings())
    said = capsys.readouterr().out
    assert f"{restic}/bin/rest: nothing says that restic has it" in said
    assert f"{restic}/bin/restic:" not in said


def test_a_wrong_configuration_that_is_let_through_is_found(
    checks: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    case = {"what": "a node without a provider", "option": "services.hostenv-node.apiBaseUrl", "messages": []}
    checks.check_refusals({"right": [], "wrong": [case]}, checks.Findings())
    assert "a node without a provider is not refused" in capsys.readouterr().out


def test_a_page_of_the_options_that_is_not_current_is_found(
    checks: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def option(default: str) -> dict[str, object]:
        return {"description": "Seconds of `x-y`.", "type": "string", "default": {"text": default}}

    page = (
        "# Options\n\n## a\\.x\n\nSeconds of `x-y`\\.\n\n*Type:*\nstring\n\n*Default:*\n\n```nix\n900\n```\n"
    )
    checks.check_options({"a.x": option("900")}, page, checks.Findings())
    assert capsys.readouterr().out == ""
    checks.check_options({"a.x": option("90"), "a.y": option("1")}, page, checks.Findings())
    said = capsys.readouterr().out
    assert "a.x: does not say '90'" in said
    assert "{'a.x'}, not {" in said
