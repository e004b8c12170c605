"""Fetching and checking a project's source, with a real Git."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import hostenv_node
import pytest
from hostenv_node.api import Unreachable
from hostenv_node.config import Config
from hostenv_node.operations import Deadline, OperationFailed
from hostenv_node.run import CommandFailed
from hostenv_node.runtime import code
from hostenv_node.runtime.environment import Environment
from hostenv_node.runtime.layout import Layout
from hostenv_node.runtime.nar import nar_hash
from runtime_support import Systemd


def soon() -> Deadline:
    """A limit for one operation; the run of all tests may take longer."""
    return Deadline.after(600)


def answers() -> None:
    """A provider that does not have to be awaited."""


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
    raw = project.parent / "raw"
    raw.mkdir()
    for name in (".gitattributes", "hidden", "page"):
        content = subprocess.run(
            ["git", "-C", project, "cat-file", "blob", f"HEAD:{name}"], check=True, capture_output=True
        ).stdout
        (raw / name).write_bytes(content)
    archive = project.parent / "raw.tar"
    subprocess.run(["tar", "-cf", archive, "-C", raw, "."], check=True, timeout=60)
    return (
        replace(config, api_base_url=f"file://{project.parent.parent}"),
        replace(environment, rev=git(project, "rev-parse", "HEAD"), nar_hash=nar_hash(archive)),
    )


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
    locked: tuple[Config, Environment], layout: Layout, played: Systemd, tmp_path: Path
) -> None:
    config, environment = locked
    helper = tmp_path / "hostenv-node"
    helper.write_text(
        f"#!/bin/sh\ncd / && PYTHONPATH={Path(hostenv_node.__file__).parent.parent} exec {sys.executable} -c"
        ' "from hostenv_node.cli import main; raise SystemExit(main())" "$@"\n'
    )
    helper.chmod(0o755)
    tools = {**config.tools, **played.tools, "hostenv-node": str(helper)}
    unfinished = layout.unfinished_release("r1")
    (unfinished / "left/over").mkdir(parents=True)
    (unfinished / "left/over/file").touch()
    (unfinished / "left/over").chmod(0o555)
    code.unpack_source(replace(config, tools=tools), environment, layout, "r1", soon(), answers)
    assert (unfinished / "source/hidden").read_text() == "still here\n"
    assert not (unfinished / "left").exists()
    ran = [told for told in played.told() if told[0] == "systemd-run"]
    assert [f"--uid={layout.user}" in told for told in ran] == [True, True]


def test_what_is_not_the_locked_tree_is_not_unpacked(
    locked: tuple[Config, Environment], layout: Layout, played: Systemd
) -> None:
    config, environment = locked
    config = replace(config, tools={**config.tools, **played.tools})
    other = replace(environment, nar_hash="sha256-" + "B" * 43 + "=")
    with pytest.raises(OperationFailed, match="not what was locked"):
        code.unpack_source(config, other, layout, "r1", soon(), answers)
    assert not layout.unfinished_release("r1").exists()
