"""The Nix files, where there is a Nix or the lab's image, which has one."""

import subprocess
import sys
from pathlib import Path

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
        lab = image.find(description.load(TREE / "tests/lab/machines.toml").image)
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
