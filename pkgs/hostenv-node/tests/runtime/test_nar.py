import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hostenv_node.operations import OperationFailed
from hostenv_node.runtime.nar import nar_hash

# What `nix hash path` (2.26) says of the tree that `tree` makes.
NIX = "sha256-Ahy7NHUgE+iLQr+zRX0ym8FuNSHNguilLuy0dTh02Y8="


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "d").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a.txt").write_text("hi\n")
    (root / "run").write_text("x")
    os.chmod(root / "run", 0o755)
    (root / "d/link").symlink_to("a.txt")
    (root / "d/eight").write_text("12345678")
    return root


def packed(tree: Path, *options: str) -> Path:
    archive = tree.parent / "tree.tar"
    subprocess.run(["tar", "-cf", archive, *options, "-C", tree, "."], check=True, timeout=60)
    return archive


@pytest.mark.parametrize("options", [(), ("--format=pax",), ("--sort=name", "--mtime=@0"), ("--mode=g+w",)])
def test_the_hash_is_the_one_that_nix_gives(tree: Path, options: tuple[str, ...]) -> None:
    assert nar_hash(packed(tree, *options)) == NIX


def test_every_part_of_the_tree_counts(tree: Path) -> None:
    os.chmod(tree / "run", 0o644)
    assert nar_hash(packed(tree)) != NIX


def test_names_that_are_not_utf8_are_sorted_as_bytes(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in (b"\xff", "ü".encode(), b"z" * 150):
        (Path(os.fsdecode(bytes(tree) + b"/" + name))).write_text("x")
    assert nar_hash(packed(tree)).startswith("sha256-")


def test_a_device_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        member = tarfile.TarInfo("null")
        member.type = tarfile.CHRTYPE
        tar.addfile(member)
    with pytest.raises(OperationFailed, match="null"):
        nar_hash(archive)


def test_an_archive_that_ends_early_is_refused(tree: Path) -> None:
    (tree / "a.txt").write_bytes(b"x" * 100_000)
    archive = packed(tree, "--sort=name")
    (tree.parent / "short.tar").write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises((OperationFailed, tarfile.ReadError)):
        nar_hash(tree.parent / "short.tar")
