"""Fetching and checking a project's source, with a real Git."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hostenv_core import source_limits
from hostenv_core.locks import locked as lock_held
from hostenv_core.processes import CommandFailed
from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment.entry import Environment
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.jobs.api import Unreachable
from hostenv_node.runtime import code
from runtime_support import Systemd


def soon() -> Deadline:
    """A limit for one operation; the run of all tests may take longer."""
    return Deadline.after(600)


def answers() -> None:
    """A provider that does not have to be awaited."""


LOCKED = "sha256-cv3loDOxNMi7BAs0vksUH1TrwZXhXHNjm0stmqCGJv0="
"""What `nix hash path` (2.26) says of the project's files."""
LARGE = "sha256-a5PBuOqWyQY4U/2Y1fab1F1nFAste5GQsiYsbUsJ2Lc="
"""The same, of those with 8 MiB of zeros."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small file system")


def git(directory: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.test", "-c", "core.autocrlf=false"]
    argv = ["git", "-C", str(directory), *identity, *arguments]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The provider's mirror of a project that would like its archive to differ from its tree."""
    mirror = tmp_path / "srv/git/demo__drupal.git"
    mirror.mkdir(parents=True)
    git(mirror, "init", "--quiet", "--initial-branch=main")
    (mirror / ".gitattributes").write_text("* text eol=crlf export-subst ident\nhidden export-ignore\n")
    (mirror / "hidden").write_text("still here\n")
    (mirror / "page").write_text("$Format:%H$ $Id$\nline\n")
    git(mirror, "add", "--all")
    git(mirror, "commit", "--quiet", "--message=one")
    return mirror


@pytest.fixture
def locked(project: Path, config: Config, environment: Environment) -> tuple[Config, Environment]:
    config.git_dir.mkdir()
    return (
        replace(config, api_base_url=f"file://{project.parent.parent}"),
        replace(environment, rev=git(project, "rev-parse", "HEAD"), nar_hash=LOCKED),
    )


@pytest.fixture
def working(locked: tuple[Config, Environment], played: Systemd, tmp_path: Path) -> Config:
    """The user's side is the real one, run as whoever runs the tests."""
    config, _ = locked
    helper = tmp_path / "hostenv-node"
    helper.write_text(
        f"#!/bin/sh\ncd / && PYTHONPATH={os.pathsep.join(sys.path)} exec {sys.executable} -c"
        ' "from hostenv_node.cli import main; raise SystemExit(main())" "$@"\n'
    )
    helper.chmod(0o755)
    return replace(config, tools={**config.tools, **played.tools, "hostenv-node": str(helper)})


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """A file system of 4 MiB in place of the folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "small", place], check=True, timeout=60)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True, timeout=60)


def commit_large_file(project: Path) -> str:
    """The revision of a source of 8 MiB, of which Git makes a few kB."""
    (project / "zeros").write_bytes(bytes(8 << 20))
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=large")
    return git(project, "rev-parse", "HEAD")


def test_the_tree_is_the_locked_one_whatever_its_attributes_say(locked: tuple[Config, Environment]) -> None:
    config, environment = locked
    repository = code.fetch(config, environment, soon(), answers)
    code.check(config, environment, repository, soon())
    assert [path.name for path in config.git_dir.iterdir()] == ["demo__drupal.git"]


def test_a_tree_with_another_hash_is_refused(locked: tuple[Config, Environment]) -> None:
    config, environment = locked
    other = replace(environment, nar_hash="sha256-" + "A" * 43 + "=")
    repository = code.fetch(config, other, soon(), answers)
    with pytest.raises(OperationFailed, match=r"demo__drupal at .* the plan says"):
        code.check(config, other, repository, soon())


def test_a_revision_that_the_mirror_lacks_is_an_error(locked: tuple[Config, Environment]) -> None:
    config, environment = locked
    with pytest.raises((OperationFailed, CommandFailed)):
        code.fetch(config, replace(environment, rev="b" * 40), soon(), answers)


def test_what_a_crash_left_in_the_copy_is_got_over(locked: tuple[Config, Environment], project: Path) -> None:
    config, environment = locked
    repository = code.fetch(config, environment, soon(), answers)
    (repository / "shallow.lock").touch()
    (project / "page").write_text("two\n")
    git(project, "commit", "--quiet", "--all", "--message=two")
    newer = replace(environment, rev=git(project, "rev-parse", "HEAD"))
    fetched = code.fetch(config, newer, soon(), answers)
    assert git(fetched, "cat-file", "-t", newer.rev) == "commit"


def test_an_absent_provider_interrupts_a_fetch_and_the_copy_stays(locked: tuple[Config, Environment]) -> None:
    config, environment = locked
    repository = code.fetch(config, environment, soon(), answers)
    absent = replace(config, api_base_url="http://127.0.0.1:9")

    def stays_away() -> None:
        raise Unreachable("no answer")

    with pytest.raises(Unreachable):
        code.fetch(absent, replace(environment, rev="b" * 40), soon(), stays_away)
    assert git(repository, "cat-file", "-t", environment.rev) == "commit"


def test_a_fetch_that_a_cut_link_broke_is_made_again_once_the_provider_answers(
    locked: tuple[Config, Environment], project: Path
) -> None:
    config, environment = locked
    mirror = project.rename(project.with_name("away.git"))
    repository = code.fetch(config, environment, soon(), lambda: mirror.rename(project) and None)
    assert git(repository, "cat-file", "-t", environment.rev) == "commit"


def test_the_token_is_in_no_argument(locked: tuple[Config, Environment], tmp_path: Path) -> None:
    config, environment = locked
    spy = tmp_path / "git"
    real, log = config.tool("git"), tmp_path / "log"
    spy.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{log}\nexec {real} "$@"\n')
    spy.chmod(0o755)
    code.fetch(replace(config, tools={**config.tools, "git": str(spy)}), environment, soon(), answers)
    assert "fetch" in log.read_text()
    assert "secret-token" not in log.read_text()
    assert "Basic" not in log.read_text()


def test_what_was_checked_is_unpacked_by_the_user(
    working: Config, locked: tuple[Config, Environment], layout: Layout, played: Systemd
) -> None:
    unfinished = layout.unfinished_release("r1")
    (unfinished / "left/over").mkdir(parents=True)
    (unfinished / "left/over/file").touch()
    (unfinished / "left/over").chmod(0o555)
    code.unpack_source(working, locked[1], layout, "r1", soon(), answers)
    # as it was hashed, whatever its attributes say
    assert (unfinished / "source/hidden").read_text() == "still here\n"
    assert (unfinished / "source/page").read_bytes() == b"$Format:%H$ $Id$\nline\n"
    assert not (unfinished / "left").exists()
    ran = [told for told in played.told() if told[0] == "systemd-run"]
    assert [f"--uid={layout.user}" in told for told in ran] == [True, True]


def test_a_source_that_is_too_large_is_not_unpacked_anywhere(
    working: Config,
    locked: tuple[Config, Environment],
    layout: Layout,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(source_limits, "MAX_BYTES", 4 << 20)
    environment = replace(locked[1], rev=commit_large_file(project))
    with pytest.raises(OperationFailed, match="has 8 MiB, 4 are the most"):
        code.unpack_source(working, environment, layout, "r1", soon(), answers)
    assert not layout.app_dir.exists()
    (copy,) = working.git_dir.iterdir()
    assert sum(path.stat().st_size for path in copy.rglob("*")) < 1 << 20


@needs_root
def test_a_home_without_room_is_said_in_one_line_and_nothing_is_left_in_it(
    working: Config, locked: tuple[Config, Environment], layout: Layout, project: Path
) -> None:
    environment = replace(locked[1], rev=commit_large_file(project), nar_hash=LARGE)
    with small_disk(layout.home):
        with pytest.raises(OperationFailed, match=r"no room for the source \(8 MiB in 4 files\) at .*; make"):
            code.unpack_source(working, environment, layout, "r1", soon(), answers)
        assert list(layout.app_dir.iterdir()) == []
        assert list(layout.discarded_dir.iterdir()) == []


@needs_root
def test_a_disk_of_roots_without_room_keeps_no_half_of_a_copy(
    locked: tuple[Config, Environment], project: Path
) -> None:
    config, environment = locked
    (project / "noise").write_bytes(os.urandom(8 << 20))
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=incompressible")
    environment = replace(environment, rev=git(project, "rev-parse", "HEAD"))
    with small_disk(config.git_dir):
        with pytest.raises(OperationFailed, match="no room for the source at "):
            code.fetch(config, environment, soon(), answers)
        assert list(config.git_dir.iterdir()) == []


@pytest.mark.parametrize("limit", ["MAX_BYTES", "_MAX_COPY_FILES"])
def test_a_copy_that_has_grown_is_begun_anew(
    locked: tuple[Config, Environment], project: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    config, environment = locked
    repository = code.fetch(config, environment, soon(), answers)
    before = environment.rev
    newer = replace(environment, rev=commit_large_file(project))
    monkeypatch.setattr(code, limit, 1)
    code.fetch(config, newer, soon(), answers)
    assert git(repository, "cat-file", "-t", newer.rev) == "commit"
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, "cat-file", "-t", before)


def test_copies_that_nothing_here_needs_go_and_so_does_what_a_crash_left(
    locked: tuple[Config, Environment],
) -> None:
    config, environment = locked
    code.fetch(config, environment, soon(), answers)
    (config.git_dir / "gone__site.git/objects").mkdir(parents=True)
    (config.git_dir / ".tree-x.tar").touch()
    code.forget_copies(config, lambda: [environment.mirror])
    assert [path.name for path in config.git_dir.iterdir()] == ["demo__drupal.git"]
    with lock_held(config.locks_dir / "copy-demo__drupal.lock"):
        code.forget_copies(config, list)
    assert [path.name for path in config.git_dir.iterdir()] == ["demo__drupal.git"], "a job is at it"
    code.forget_copies(config, list)
    assert list(config.git_dir.iterdir()) == []


def test_what_is_not_the_locked_tree_is_not_unpacked(
    locked: tuple[Config, Environment], layout: Layout, played: Systemd
) -> None:
    config, environment = locked
    config = replace(config, tools={**config.tools, **played.tools})
    other = replace(environment, nar_hash="sha256-" + "B" * 43 + "=")
    with pytest.raises(OperationFailed, match="not what was locked"):
        code.unpack_source(config, other, layout, "r1", soon(), answers)
    assert not layout.unfinished_release("r1").exists()
