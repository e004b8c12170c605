import fcntl
import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hostenv_core.errors import HostenvError, InvalidData
from hostenv_core.processes import CommandFailed
from hostenv_provider.config import Config
from hostenv_provider.plan.plan import Plan, State
from hostenv_provider.plan.settings import ProviderSettings
from hostenv_provider.repository.repository import NotBootstrapped, PushRejected, Repository

GIT = shutil.which("git") or "git"
USER = "drupal-main-2855093"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(
        data_dir=tmp_path / "data",
        socket=tmp_path / "socket",
        user=pwd.getpwuid(0).pw_name,
        public_url="http://provider",
        tools={"git": GIT},
    )


@pytest.fixture
def settings() -> ProviderSettings:
    return ProviderSettings.parse(
        {
            "hostenvHostname": "demo.hostenv.test",
            "nodeFor": {"default": "node-a"},
            "nodes": {"node-a": {"address": "192.0.2.1"}, "node-b": {"address": "192.0.2.2"}},
        },
        "http://provider",
    )


@pytest.fixture
def repository(config: Config, settings: ProviderSettings) -> Repository:
    config.data_dir.mkdir()
    made = Repository(config)
    with made.locked():
        made.create(settings)
        made.sync()
    return made


def operator_pushes(repository: Repository, folder: Path, name: str = "notes") -> str:
    """Somebody else's commit, made in a clone of his own."""
    clone = folder / f"operator-{name}"

    def git(*arguments: str) -> str:
        command = [GIT, "-c", "user.name=operator", "-c", "user.email=operator@localhost", *arguments]
        return subprocess.run(command, cwd=clone, check=True, capture_output=True, text=True).stdout.strip()

    subprocess.run([GIT, "clone", "--quiet", str(repository.bare), str(clone)], check=True)
    (clone / name).write_text("x")
    git("add", "--all")
    git("commit", "--quiet", "-m", name)
    git("push", "--quiet", "origin", "HEAD:main")
    return git("rev-parse", "HEAD")


def change(repository: Repository, content: str = "x") -> str:
    repository.write_text("README", content)
    return repository.commit("Change")


def test_a_new_repository_holds_what_the_contract_names(repository: Repository) -> None:
    files = repository.git("ls-tree", "-r", "HEAD").text.splitlines()
    modes = {line.split("\t")[1]: line.split()[0] for line in files}

    assert modes == {
        "flake.nix": "100644",
        "flake.lock": "100644",
        "provider.json": "100644",
        "generated/plan.json": "100644",
        "generated/state.json": "100644",
        "generated/nodes/node-a/slice.json": "100644",
        "generated/nodes/node-a/slice.sha256": "100644",
        "generated/nodes/node-a/bin/switch-to-configuration": "100755",
        "generated/nodes/node-b/slice.json": "100644",
        "generated/nodes/node-b/slice.sha256": "100644",
        "generated/nodes/node-b/bin/switch-to-configuration": "100755",
    }
    assert repository.published_head() == repository.git("rev-parse", "HEAD").text.strip()
    assert repository.read_settings().nodes["node-b"].address == "192.0.2.2"
    assert repository.read_plan() == Plan.empty(repository.read_settings()) == repository.published_plan()
    assert repository.read_state() == State.empty()


def test_the_published_plan_is_looked_at_without_git_until_it_changes(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a stranger's request would start a process")

    before = repository.published_plan()
    with monkeypatch.context() as strangers:
        strangers.setattr(repository, "git", refuse)
        assert repository.published_plan() is before
    operator_pushes(repository, tmp_path)
    assert repository.published_plan() == before
    with repository.locked():
        repository.sync()
        settings = replace(repository.read_settings(), hostenv_hostname="other.hostenv.test")
        repository.write_generated(Plan.empty(settings), State.empty())
        repository.push(repository.commit("Another domain"))
    assert repository.published_plan().hostenv_hostname == "other.hostenv.test"
    repository.git("pack-refs", "--all", cwd=repository.bare)
    assert repository.published_plan().hostenv_hostname == "other.hostenv.test"


@pytest.mark.parametrize(("service", "status"), [("git-upload-pack", None), ("git-receive-pack", b"403")])
def test_git_itself_gives_over_http_and_takes_nothing(
    repository: Repository, service: str, status: bytes | None
) -> None:
    environment = {
        **os.environ,
        "HOME": str(repository.config.data_dir),
        "GIT_PROJECT_ROOT": str(repository.bare.parent),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{repository.bare.name}/info/refs",
        "QUERY_STRING": f"service={service}",
        "REQUEST_METHOD": "GET",
        "REMOTE_USER": "node-a",
    }
    answer = subprocess.run(
        [GIT, "http-backend"], env=environment, capture_output=True, check=False, timeout=60
    )
    headers = answer.stdout.partition(b"\r\n\r\n")[0].splitlines()
    refused = [line.split()[1] for line in headers if line.startswith(b"Status:")]
    assert refused == ([] if status is None else [status])


def test_a_second_initialisation_is_refused_and_changes_nothing(
    repository: Repository, settings: ProviderSettings
) -> None:
    before = repository.published_head()

    with pytest.raises(HostenvError, match="initialised already"):
        repository.create(settings)

    assert repository.sync() == before


def test_an_interrupted_initialisation_leaves_nothing_in_the_way(
    config: Config, settings: ProviderSettings
) -> None:
    (config.git_dir / "provider.git.new" / "refs").mkdir(parents=True)
    config.repo_dir.mkdir()

    Repository(config).create(settings)

    assert Repository(config).sync()


def test_without_repository(config: Config) -> None:
    config.data_dir.mkdir()
    repository = Repository(config)

    for act in (repository.sync, repository.published_plan, lambda: repository.contains("a" * 40)):
        with pytest.raises(NotBootstrapped, match="hostenv-provider init"):
            act()
    assert not repository.is_ancestor("a" * 40, "b" * 40)


def test_sync_takes_the_remote_and_forgets_the_rest(repository: Repository, tmp_path: Path) -> None:
    theirs = operator_pushes(repository, tmp_path)
    change(repository)
    repository.write_text("generated/plan.json", "{")
    repository.write_text("left/over", "x")

    assert repository.sync() == theirs
    assert not repository.changed()
    assert not (repository.work_tree / "left").exists()
    assert not (repository.work_tree / "README").exists()
    assert (repository.work_tree / "notes").exists()


def test_sync_gets_over_locks_of_killed_processes_and_a_lost_work_tree(repository: Repository) -> None:
    head = repository.sync()
    for lock in ("index.lock", "HEAD.lock", "refs/heads/main.lock"):
        (repository.work_tree / ".git" / lock).touch()
    assert repository.sync() == head
    change(repository)

    shutil.rmtree(repository.work_tree)

    assert repository.sync() == head


def test_pushing(repository: Repository) -> None:
    sha = change(repository)
    assert not repository.contains(sha)

    repository.push(sha)
    repository.push(sha)

    assert repository.contains(sha)
    assert repository.published_head() == sha


def test_a_push_behind_somebody_else_is_rejected(repository: Repository, tmp_path: Path) -> None:
    theirs = operator_pushes(repository, tmp_path)
    mine = change(repository)

    with pytest.raises(PushRejected):
        repository.push(mine)

    assert repository.published_head() == theirs


def test_a_push_that_the_remote_refuses_for_another_reason(repository: Repository) -> None:
    hook = repository.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)

    with pytest.raises(CommandFailed, match="pre-receive"):
        repository.push(change(repository))


def test_a_pushed_commit_with_others_on_top_needs_no_second_push(
    repository: Repository, tmp_path: Path
) -> None:
    mine = change(repository)
    repository.push(mine)
    theirs = operator_pushes(repository, tmp_path)

    repository.push(mine)

    assert repository.published_head() == theirs
    assert repository.is_ancestor(mine, theirs)
    assert repository.is_ancestor(mine, mine)
    assert not repository.is_ancestor(theirs, mine)


@pytest.mark.parametrize("sha", ["", "main", "--help", "a" * 40, "HEAD~1"])
def test_unknown_commits_are_no_ancestors(repository: Repository, sha: str) -> None:
    head = repository.published_head()

    assert not repository.is_ancestor(sha, head)
    assert not repository.is_ancestor(head, sha)


def cut_short(repository: Repository) -> None:
    shutil.rmtree(repository.work_tree / ".git" / "refs")
    (repository.work_tree / ".git" / "HEAD").unlink()


def lose_the_index(repository: Repository) -> None:
    (repository.work_tree / ".git" / "index").write_bytes(b"DIRC" + bytes(100))


def empty_objects(repository: Repository) -> None:
    for path in (repository.work_tree / ".git" / "objects").glob("??/*"):
        path.unlink()
        path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_short, lose_the_index, empty_objects])
def test_a_damaged_work_tree_is_made_anew(
    repository: Repository, tmp_path: Path, damage: Callable[[Repository], None]
) -> None:
    head = operator_pushes(repository, tmp_path)
    damage(repository)

    assert repository.sync() == head
    assert not repository.changed()
    repository.push(change(repository))


def test_commits_of_the_work_tree_reach_the_disk(repository: Repository) -> None:
    def configured() -> str:
        return repository.git("config", "core.fsync").text.strip()

    assert configured() == "added,reference"
    shutil.rmtree(repository.work_tree)
    repository.sync()
    assert configured() == "added,reference"


def test_a_commit_without_changes_is_made_only_on_demand(repository: Repository) -> None:
    head = repository.sync()

    with pytest.raises(CommandFailed):
        repository.commit("Nothing")

    assert repository.commit("Again", allow_empty=True) != head


def test_placing_an_environment(repository: Repository) -> None:
    repository.set_node(USER, "node-b")
    repository.set_node(USER, "node-a")
    repository.set_node("drupal-next-0123456", "node-b")

    assert repository.read_settings().placements == {USER: "node-a", "drupal-next-0123456": "node-b"}
    before = repository.read_text("provider.json")
    with pytest.raises(InvalidData, match="node-c"):
        repository.set_node(USER, "node-c")
    assert repository.read_text("provider.json") == before


def test_generated_files_of_a_node_that_is_gone_are_removed(repository: Repository) -> None:
    plan = replace(repository.read_plan(), nodes=("node-b",))

    repository.write_generated(plan, State.empty())

    assert not (repository.work_tree / "generated/nodes/node-a").exists()
    assert (
        repository.work_tree / "generated/nodes/node-b/bin/switch-to-configuration"
    ).stat().st_mode & 0o111
    assert repository.changed()


def test_an_exception_takes_changes_back(repository: Repository) -> None:
    with suppress(InvalidData), repository.changing():
        repository.write_text("flake.nix", "x")
        repository.write_text("new", "x")
        raise InvalidData("no")

    assert not repository.changed()
    assert not (repository.work_tree / "new").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"environments": 1}'])
def test_a_published_plan_that_cannot_be_read(repository: Repository, content: str) -> None:
    repository.write_text("generated/plan.json", content)
    repository.push(repository.commit("Damage"))

    with pytest.raises(InvalidData, match=r"^generated/plan\.json: "):
        repository.published_plan()


def test_a_provider_json_of_an_operator_is_checked(repository: Repository) -> None:
    document = json.loads(repository.read_text("provider.json"))
    repository.write_text("provider.json", json.dumps({**document, "nodeFor": {"default": "a;b"}}))

    with pytest.raises(InvalidData, match=r"^provider\.json: \$\.nodeFor\.default: "):
        repository.read_settings()


def test_rewriting_history_is_refused(repository: Repository, tmp_path: Path) -> None:
    first = repository.published_head()
    operator_pushes(repository, tmp_path)
    repository.sync()

    forced = repository.git("push", "--force", "origin", f"{first}:refs/heads/main", check=False)

    assert forced.returncode != 0
    assert repository.published_head() != first


def test_the_lock_excludes_others(repository: Repository) -> None:
    with open(repository.config.lock) as other:
        with repository.locked(), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
