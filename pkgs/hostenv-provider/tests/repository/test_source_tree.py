"""What a project's files may be, looked at in Git before anything is unpacked."""

import subprocess
from pathlib import Path

import pytest
from git_hosts import GIT
from hostenv_core.errors import InvalidData
from hostenv_core.processes import CommandFailed
from hostenv_provider.config import Config
from hostenv_provider.repository import source_tree
from hostenv_provider.repository.mirror import Mirror
from hostenv_provider.repository.repository import Repository
from hostenv_provider.repository.source_tree import Entry

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"


class Site:
    """A project's work tree and the mirror that has its commits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "site"
        self.git("init", "--quiet", "--initial-branch=main", cwd=folder)
        config = Config(
            folder / "data",
            folder / "socket",
            "root",
            "http://provider",
            source_folders=(self.folder,),
            tools={"git": GIT},
        )
        config.git_dir.mkdir(parents=True)
        self.mirror = Mirror(Repository(config), "demo__site")

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        if cwd is not None:
            arguments = (*arguments, str(self.folder))
        command = [GIT, "-c", "user.name=x", "-c", "user.email=x@localhost", *arguments]
        done = subprocess.run(command, cwd=cwd or self.folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", "x")
        rev = self.git("rev-parse", "HEAD")
        self.mirror.obtain(f"git+file://{self.folder}", "refs/heads/main", rev)
        return rev

    def refusal(self) -> str:
        with pytest.raises(InvalidData) as error:
            source_tree.check_source(self.mirror, self.commit(), "branch main")
        return str(error.value)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_submodule_is_refused_by_its_path(site: Site) -> None:
    site.write("index.php", "x")
    rev = site.commit()
    source_tree.check_source(site.mirror, rev, "branch main")
    (site.folder / "lib/theme").mkdir(parents=True)
    site.git("update-index", "--add", "--cacheinfo", f"160000,{rev},lib/theme")

    text = site.refusal()

    assert text.startswith(
        "branch main: 'lib/theme' is a submodule, and the node would get an empty folder: "
    )
    assert "git subtree add" in text


@pytest.mark.parametrize("attributes", [".gitattributes", "web/.gitattributes"])
def test_a_file_in_git_lfs_is_refused_by_its_path(site: Site, attributes: str) -> None:
    site.write(attributes, "*.mp4 filter=lfs diff=lfs merge=lfs -text\n")
    site.write("web/a\nb.mp4", POINTER)

    text = site.refusal()

    assert text.startswith("branch main: 'web/a\\nb.mp4' is kept in Git LFS")
    assert "git lfs migrate export" in text


def test_what_only_looks_like_git_lfs_is_a_file_like_any_other(site: Site) -> None:
    site.write("docs/lfs.md", f"# A pointer\n\n{POINTER}")
    site.write("pointer.mp4", POINTER)
    source_tree.check_source(site.mirror, site.commit(), "branch main")
    site.git("rm", "--quiet", "pointer.mp4")
    site.write(".gitattributes", "*.mp4 filter=lfs\n")
    source_tree.check_source(site.mirror, site.commit(), "branch main")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (
            [Entry("100644", 1 << 29, "a"), Entry("100644", (1 << 29) + (1 << 20), "b")],
            "has 1025 MiB, 1024 are",
        ),
        ([Entry("100644", 0, str(number)) for number in range(200_001)], "has 200001 files, 200000 are"),
        ([Entry("100644", 0, "d/" * 65 + "f")], "has 65 folders in one another, 64 are"),
    ],
)
def test_a_tree_that_is_too_large(entries: list[Entry], words: str) -> None:
    with pytest.raises(InvalidData, match=f"^here: {words} the most: "):
        source_tree.check(entries, "here")


def test_files_come_out_as_git_has_them(site: Site, tmp_path: Path) -> None:
    names = {"a.txt": "$Id$\n", "x/ä\n.txt": "1\n", "C:\\x": "2", "aux": "3"}
    for name, text in names.items():
        site.write(name, text)
    (site.folder / "x/program").write_text("#!")
    (site.folder / "x/program").chmod(0o755)
    (site.folder / "link").symlink_to("/etc/passwd")
    site.commit()
    unpleasant = "*.txt ident text eol=crlf export-ignore filter=x\n"
    site.write(".gitattributes", unpleasant)
    rev = site.commit()

    with source_tree.unpacked(site.mirror, rev, tmp_path / "tree") as tree:
        assert {name: (tree / name).read_text() for name in names} == names
        assert (tree / "link").readlink() == Path("/etc/passwd")
        assert (tree / "x/program").stat().st_mode & 0o100
        assert not (tree / "a.txt").stat().st_mode & 0o100
        assert tree.parent.stat().st_mode & 0o077 == 0
    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize("name", ["..", ".git"])
def test_a_tree_that_leads_out_of_its_folder_is_not_made(site: Site, tmp_path: Path, name: str) -> None:
    blob = bytes.fromhex(site.git("hash-object", "-w", "/dev/null"))
    (tmp_path / "object").write_bytes(b"100644 " + name.encode() + b"\0" + blob)
    tree = site.git("hash-object", "-w", "-t", "tree", "--literally", str(tmp_path / "object"))
    rev = site.git("commit-tree", tree, "-m", "x")
    site.git("update-ref", "refs/heads/main", rev)
    site.mirror.obtain(f"git+file://{site.folder}", "refs/heads/main", rev)

    with (
        pytest.raises(CommandFailed, match="invalid path"),
        source_tree.unpacked(site.mirror, rev, tmp_path / "t"),
    ):
        pass
