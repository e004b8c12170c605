"""What `tests/nixos/run` refuses, in one line and before it makes anything; and which checks it takes."""

import subprocess
from pathlib import Path

import pytest
from hostenv_core.errors import HostenvError
from hostenv_nixos import inputs
from hostenv_nixos.inputs import TREE, Inputs, copy_tree
from hostenv_nixos.machines import Check

RUN = TREE / "tests/nixos/run"
DRIVER = "nixos/lib/test-driver/src/test_driver/machine/__init__.py"


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def nixpkgs(tmp_path: Path) -> Path:
    write(tmp_path / "nixpkgs/pkgs/top-level/default.nix")
    write(tmp_path / "nixpkgs" / DRIVER, "class NspawnMachine(BaseMachine):\n")
    return tmp_path / "nixpkgs"


@pytest.fixture
def comin(tmp_path: Path) -> Path:
    write(tmp_path / "comin/nix/package.nix", '{\n  version = "0.13.0";\n}\n')
    return tmp_path / "comin"


def test_trees_of_the_right_kind_are_taken(nixpkgs: Path, comin: Path) -> None:
    Inputs(nixpkgs, comin)


def test_a_folder_that_is_no_nixpkgs(tmp_path: Path, comin: Path) -> None:
    with pytest.raises(HostenvError, match="no source tree of nixpkgs"):
        Inputs(tmp_path, comin)


def test_a_nixpkgs_whose_driver_has_no_containers(nixpkgs: Path, comin: Path) -> None:
    write(nixpkgs / DRIVER, "class Machine:\n")
    with pytest.raises(HostenvError, match="no containers"):
        Inputs(nixpkgs, comin)


def test_a_comin_of_another_version(nixpkgs: Path, comin: Path) -> None:
    write(comin / "nix/package.nix", '{\n  version = "0.12.0";\n}\n')
    with pytest.raises(HostenvError, match=r"is comin 0\.12\.0, and the flake takes 0\.13\.0"):
        Inputs(nixpkgs, comin)


def test_a_program_that_is_not_there(nixpkgs: Path, comin: Path, tmp_path: Path) -> None:
    with pytest.raises(HostenvError, match="is no program"):
        Inputs(nixpkgs, comin, tmp_path / "nothing")


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(RUN), "--nixpkgs", str(tmp_path), "--comin", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"tests/nixos/run: {tmp_path}: is no source tree of nixpkgs; name its top folder\n"
    )


def test_only_a_script_that_asks_for_no_virtual_machine_is_run() -> None:
    assert Check("x", "node_a.screenshot('x')\n").needs_qemu
    assert not Check("x", "node_a.crash()\n").needs_qemu
    assert not Check("x", "node_a.succeed('true')\n").needs_qemu
    assert not Check("x", None).needs_qemu


def test_the_copied_tree_has_what_git_knows_or_would_add(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, copy = tmp_path / "tree", tmp_path / "copy"
    write(tree / ".gitignore", "ignored\n")
    for name in ("known", "new", "ignored", "gone"):
        write(tree / name, name)
    subprocess.run(["git", "init", "--quiet", str(tree)], check=True, timeout=60)
    subprocess.run(["git", "-C", str(tree), "add", "known", "gone"], check=True, timeout=60)
    (tree / "gone").unlink()
    monkeypatch.setattr(inputs, "TREE", tree)
    copy_tree(copy)
    assert {path.name for path in copy.iterdir()} == {".gitignore", "known", "new"}


def test_without_git_hidden_files_stay_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree, copy = tmp_path / "tree", tmp_path / "copy"
    write(tree / "folder/file")
    write(tree / ".cache/file")
    monkeypatch.setattr(inputs, "TREE", tree)
    copy_tree(copy)
    assert [path.name for path in copy.rglob("*") if path.is_file()] == ["file"]
    assert not (copy / ".cache").exists()
