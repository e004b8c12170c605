"""Nix's hash of a tree, from the objects of a real Git repository."""

import io
import os
import subprocess
from pathlib import Path

import pytest
from hostenv_node.errors import OperationFailed
from hostenv_node.runtime.nar import nar_hash
from hostenv_node.runtime.source_tree import Entry, entries

# What `nix hash path` (2.26) says of the tree that `tree` makes.
NIX = "sha256-MwLuozzFALdibJdqsSj+Fp7TCO9pF/fTSuLAPidArSM="


def git(repository: Path, *arguments: str, given: bytes = b"") -> bytes:
    argv = ["git", "-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@example.test", *arguments]
    return subprocess.run(argv, check=True, capture_output=True, input=given, timeout=60).stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "d/e").mkdir(parents=True)
    git(root, "init", "--quiet")
    (root / "a.txt").write_text("hi\n")
    (root / "run").write_text("x")
    os.chmod(root / "run", 0o755)
    (root / "d/link").symlink_to("a.txt")
    (root / "d/eight").write_text("12345678")
    (root / "d/e/empty").touch()
    # Git sorts a folder as if its name ended with a slash, Nix does not.
    (root / "d-").write_text("before d for Git")
    return root


def objects(root: Path) -> tuple[list[Entry], bytes]:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=x")
    found = entries(io.BytesIO(git(root, "ls-tree", "-r", "-l", "-z", "HEAD")), "it")
    wanted = "".join(f"{entry.object_id}\n" for entry in found).encode()
    return found, git(root, "cat-file", "--batch", given=wanted)


def hashed(root: Path) -> str:
    found, content = objects(root)
    return nar_hash(found, io.BytesIO(content))


def test_the_hash_is_the_one_that_nix_gives(tree: Path) -> None:
    assert hashed(tree) == NIX


def test_every_part_of_the_tree_counts(tree: Path) -> None:
    os.chmod(tree / "run", 0o644)
    assert hashed(tree) != NIX


def test_names_that_are_not_utf8_are_sorted_as_bytes(tree: Path) -> None:
    for name in (b"\xff", "ü".encode(), b"z" * 150):
        (Path(os.fsdecode(bytes(tree) + b"/" + name))).write_text("x")
    found, content = objects(tree)
    assert [entry.parts[-1] for entry in found][-3:] == [b"z" * 150, "ü".encode(), b"\xff"]
    assert nar_hash(found, io.BytesIO(content)).startswith("sha256-")


@pytest.mark.parametrize("cut", [1, 60, 300])
def test_content_that_is_missing_or_ends_early_is_refused(tree: Path, cut: int) -> None:
    (tree / "a.txt").write_bytes(b"x" * 100_000)
    found, content = objects(tree)
    with pytest.raises(OperationFailed, match=r"a\.txt"):
        nar_hash(found, io.BytesIO(content[:cut]))


def test_names_that_come_twice_are_refused() -> None:
    one = Entry("100644", "a" * 40, 0, (b"a",))
    said = io.BytesIO(f"{one.object_id} blob 0\n\n".encode() * 2)
    with pytest.raises(OperationFailed, match="malformed"):
        nar_hash([one, Entry("100644", "a" * 40, 0, (b"a", b"b"))], said)
