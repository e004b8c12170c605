"""The nodes' own repositories: who gets a commit when, and what `kill -9` leaves at each moment of it."""

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hostenv_core.states import JobState, Status
from hostenv_provider.config import Config
from hostenv_provider.disks.free_space import Disks
from hostenv_provider.plan.generated import slice_hash
from hostenv_provider.rules.jobs import Event, Request
from hostenv_provider.rules.stored import NodeCommit
from hostenv_provider.store import database
from hostenv_provider.store.node_commits import SLICES_KEPT
from hostenv_provider.store.store import Store
from hostenv_provider.web.api import Api
from hostenv_provider.work import worker
from provider_support import GIT, PROJECT, Killed, Machine, definition, lock_file, make_earlier

MAIN = "drupal-main-2855093"
NODES = ("node-a", "node-b")
HASH_FILE = "generated/nodes/{0}/slice.sha256"


@pytest.fixture
def machine(new_provider: Path, config: Config) -> Machine:
    return Machine.copy(new_provider, config)


def heads(machine: Machine) -> dict[str, str]:
    return {node: machine.history_of(node)[0] for node in NODES}


def slice_at_head(machine: Machine, node: str) -> dict[str, object]:
    """What a node gets that follows its repository and then asks for its slice."""
    sha256 = machine.git_of(node, "show", f"main:{HASH_FILE.format(node)}")
    text = machine.store.slice(node, sha256)
    assert text is not None
    assert slice_hash(text) == sha256
    found: dict[str, object] = json.loads(text)
    return found


def test_a_new_provider_has_a_repository_for_each_node(machine: Machine) -> None:
    for node in NODES:
        assert len(machine.history_of(node)) == 1
        assert slice_at_head(machine, node)["environments"] == {}
        assert not machine.store.follows_provider(node)
        assert machine.git_of(node, "config", "http.receivepack") == "false"
        assert machine.git_of(node, "fsck", "--strict") == ""


def test_only_nodes_with_actions_get_a_commit(machine: Machine) -> None:
    before = heads(machine)
    job = machine.run()
    assert machine.history_of("node-a") == [machine.node_commit_of(job, "node-a"), before["node-a"]]
    assert heads(machine)["node-b"] == before["node-b"]
    assert list(slice_at_head(machine, "node-a")["environments"]) == [MAIN]  # type: ignore[call-overload]
    machine.finish(job)
    machine.run()
    assert machine.history_of("node-a")[0] == machine.node_commit_of(job, "node-a")
    move = machine.run(Request(PROJECT, placements={MAIN: "node-b"}))
    assert heads(machine) == {node: machine.node_commit_of(move, node) for node in NODES}
    assert slice_at_head(machine, "node-a")["environments"] == {}
    assert list(slice_at_head(machine, "node-b")["environments"]) == [MAIN]  # type: ignore[call-overload]


def test_no_repository_of_a_node_names_what_the_other_hosts(machine: Machine) -> None:
    machine.finish(machine.run())
    for arguments in (["cat-file", "--batch-all-objects", "--batch"], ["log", "--all", "--format=%B"]):
        for node in NODES:
            everything = machine.git_of(node, *arguments)
            assert node in everything
            for word in (PROJECT, "drupal", "1" * 40, "sha256-", *set(NODES) - {node}):
                assert word not in everything


def test_a_retry_without_change_is_an_empty_commit_for_those_who_act(machine: Machine) -> None:
    first = machine.run()
    before = heads(machine)
    machine.store.record_event(first, Event("node-a", Status.FAILED, "activate", "no space", None, 0))
    second = machine.run()
    assert machine.history_of("node-a")[:2] == [machine.node_commit_of(second, "node-a"), before["node-a"]]
    assert machine.git_of("node-a", "diff", "--stat", "main~1", "main") == ""
    assert heads(machine)["node-b"] == before["node-b"]


def test_a_change_that_concerns_no_node_touches_none(machine: Machine) -> None:
    machine.finish(machine.run())
    before = heads(machine)
    machine.projects.locked = "second"
    assert machine.state(machine.run()) is JobState.SUCCEEDED
    assert machine.published("flake.lock") == lock_file("second")
    assert heads(machine) == before


def test_what_an_operator_pushes_reaches_every_node_and_only_once(machine: Machine, tmp_path: Path) -> None:
    before = heads(machine)
    pushed = machine.operator_pushes(tmp_path / "operator")
    machine.work()
    after = heads(machine)
    for node in NODES:
        assert machine.history_of(node) == [after[node], before[node]]
        assert machine.git_of(node, "show", "main:notes") == "an operator was here"
        assert pushed in machine.git_of(node, "log", "-1", "--format=%B")
    machine.restart().work()
    assert heads(machine) == after


def test_files_of_all_kinds_reach_a_node_as_they_are(machine: Machine, tmp_path: Path) -> None:
    clone = tmp_path / "operator"
    subprocess.run([GIT, "clone", "--quiet", str(machine.repository.bare), str(clone)], check=True)
    (clone / "nodes").mkdir()
    for name in ('with "quotes" and \\', "ümlaut", "tab\there", " blank ", "line\nend"):
        (clone / "nodes" / name).write_bytes(bytes(range(256)) * 3)
    (clone / "empty").touch()
    (clone / "program").write_text("#!/bin/sh\n")
    (clone / "program").chmod(0o755)
    (clone / "link").symlink_to("nodes/nowhere")
    commit(clone)
    machine.work()
    kept = ("--", ":!generated", ":!provider.json", ":!flake.lock")
    theirs = subprocess.run(
        [GIT, "ls-tree", "-r", "HEAD"], cwd=clone, check=True, capture_output=True, text=True
    ).stdout
    listing = machine.git_of("node-a", "ls-tree", "-r", "main")
    assert kept
    for line in theirs.splitlines():
        if not any(part in line for part in ("generated/", "provider.json", "flake.lock")):
            assert line in listing
    assert machine.git_of("node-a", "fsck", "--strict") == ""
    # A file in a folder's place, and the other way round.
    shutil.rmtree(clone / "nodes")
    (clone / "nodes").write_text("a file now\n")
    (clone / "empty").unlink()
    (clone / "empty").mkdir()
    (clone / "empty/file").write_text("x")
    commit(clone)
    machine.work()
    assert machine.git_of("node-a", "show", "main:nodes") == "a file now"
    assert machine.git_of("node-a", "show", "main:empty/file") == "x"
    assert "quotes" not in machine.git_of("node-a", "ls-tree", "-r", "main")


def commit(clone: Path) -> None:
    for arguments in (
        ["add", "--all"],
        ["-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "--quiet", "-m", "operator"],
        ["push", "--quiet", "origin", "HEAD:main"],
    ):
        subprocess.run([GIT, *arguments], cwd=clone, check=True)


def test_a_new_node_gets_its_repository_with_its_plan(machine: Machine, tmp_path: Path) -> None:
    nodes = {f"node-{each}": {"address": f"192.0.2.{index}"} for index, each in enumerate("abc", 1)}
    machine.operator_pushes(tmp_path / "operator", {"nodes": nodes})
    machine.work()
    assert not machine.nodes.path("node-c").exists()
    with machine.repository.changing():
        plan, state = machine.repository.read_plan(), machine.repository.read_state()
        machine.repository.write_generated(
            type(plan)(plan.hostenv_hostname, plan.public_url, plan.environments, tuple(nodes)), state
        )
        machine.repository.push(machine.repository.commit("plan"))
    machine.work()
    assert slice_at_head(machine, "node-c")["node"] == "node-c"
    assert not machine.store.follows_provider("node-c")


# kill -9


MOMENTS = ("commit", "keep", "record", "push", "pushed", "advanced", "marked")


def kill_at(machine: Machine, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise Killed

    def after(original: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            original(*arguments)
            raise Killed

        return call

    def at(stage: str) -> None:
        if stage == moment:
            raise Killed

    match moment:
        case "commit":
            monkeypatch.setattr(machine.nodes, "commit", after(machine.nodes.commit))
        case "keep":
            monkeypatch.setattr(machine.store, "keep_slice", after(machine.store.keep_slice))
        case "record":
            monkeypatch.setattr(machine.store, "start_waiting", after(machine.store.start_waiting))
        case "marked":
            monkeypatch.setattr(machine.store, "mark_pushed", killed)
        case _:
            monkeypatch.setattr(worker.stop_point, "reached", at)


@pytest.mark.parametrize("moment", [each for each in MOMENTS if each != "keep"])
def test_a_service_killed_on_the_way_to_two_nodes_reaches_both_once(
    machine: Machine, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.finish(machine.run())
    before = heads(machine)
    with monkeypatch.context() as broken:
        kill_at(machine, moment, broken)
        job = machine.store.enqueue(Request(PROJECT, placements={MAIN: "node-b"})).job_id
        with pytest.raises(Killed):
            machine.work()
    for node in NODES:
        # What a node sees has its intent.
        seen = machine.history_of(node)[0]
        assert seen == before[node] or [each.commit_sha for each in machine.store.waiting_intents(node)] == [
            seen
        ]
    again = machine.restart()
    again.work()
    assert again.state(job) is JobState.WAITING
    assert again.store.unpushed() == []
    for node in NODES:
        assert again.history_of(node)[0] == again.node_commit_of(job, node)
        assert again.history_of(node)[1] == before[node]
        (waiting,) = again.store.waiting_intents(node)
        assert again.nodes.is_ancestor(node, waiting.commit_sha, again.history_of(node)[0])
    assert list(slice_at_head(again, "node-b")["environments"]) == [MAIN]  # type: ignore[call-overload]
    again.finish(job)


@pytest.mark.parametrize("moment", ["commit", "keep", "bring"])
def test_a_service_killed_while_it_brings_an_operators_push_brings_it_later(
    machine: Machine, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = heads(machine)
    machine.operator_pushes(tmp_path / "operator")
    with monkeypatch.context() as broken:
        kill_at(machine, moment, broken)
        with pytest.raises(Killed):
            machine.work()
    assert heads(machine) == before
    again = machine.restart()
    again.work()
    for node in NODES:
        assert again.history_of(node)[1:] == [before[node]]
        assert again.git_of(node, "show", "main:notes") == "an operator was here"


def test_a_push_that_is_rejected_leaves_no_node_a_commit_of_it(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = machine.repository.push
    forgotten = []

    def raced(sha: str) -> None:
        if not forgotten:
            forgotten.extend(machine.store.waiting_intents("node-a"))
            machine.operator_pushes(tmp_path / "operator", {"nodeFor": {"default": "node-b"}})
        push(sha)

    monkeypatch.setattr(machine.repository, "push", raced)
    job = machine.run()
    assert machine.ops(job)[0] == ("node-b", "activate", MAIN)
    assert forgotten[0].commit_sha not in machine.history_of("node-a")
    assert machine.history_of("node-b")[0] == machine.node_commit_of(job, "node-b")


# Repositories that are not what they were


def test_a_repository_that_was_lost_is_made_anew_with_what_waits(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(stage: str) -> None:
        if stage == "pushed":
            raise Killed

    with monkeypatch.context() as broken:
        broken.setattr(worker.stop_point, "reached", killed)
        job = machine.store.enqueue(Request(PROJECT, None)).job_id
        with pytest.raises(Killed):
            machine.work()
    lost = machine.node_commit_of(job, "node-a")
    shutil.rmtree(machine.nodes.path("node-a"))
    again = machine.restart()
    again.work()
    assert again.node_commit_of(job, "node-a") != lost
    assert again.history_of("node-a") == [again.node_commit_of(job, "node-a")]
    again.finish(job)


def test_a_repository_that_cannot_be_written_holds_up_its_own_node_only(
    machine: Machine, tmp_path: Path
) -> None:
    path = machine.nodes.path("node-b")
    shutil.rmtree(path)
    path.mkdir()
    (path / "HEAD").write_text("damaged")
    machine.operator_pushes(tmp_path / "operator")
    machine.work()
    assert "node-b does not see" in machine.said
    assert str(path) in machine.said
    assert machine.git_of("node-a", "show", "main:notes") == "an operator was here"
    machine.finish(machine.run())
    move = machine.run(Request(PROJECT, placements={MAIN: "node-b"}))
    assert machine.state(move) is JobState.FAILED
    assert str(path) in machine.reason(move)
    shutil.rmtree(path)
    machine.work()
    assert machine.git_of("node-b", "show", "main:notes") == "an operator was here"


def test_a_node_that_cannot_be_told_after_the_push_fails_the_job(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_node: str, _commit: str) -> bool:
        raise worker.HostenvError("nodes/node-a.git: no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(machine.nodes, "advance", full)
        job = machine.store.enqueue(Request(PROJECT, None)).job_id
        assert machine.worker.step()
        assert machine.state(job) is JobState.FAILED
        assert "no space left" in machine.reason(job)
    second = machine.run()
    assert machine.state(second) is JobState.WAITING
    machine.finish(second)


# Slices


def test_the_latest_slices_of_a_node_are_kept() -> None:
    store = Store(None)
    texts = [f"slice {number}" for number in range(SLICES_KEPT + 5)]
    store.keep_slice("node-b", texts[0])
    for text in (*texts, texts[3], texts[3], texts[6]):
        store.keep_slice("node-a", text)
    kept = [text for text in texts if store.slice("node-a", slice_hash(text)) == text]
    assert kept == [texts[3], texts[6], *texts[7:]]
    assert store.slice("node-b", slice_hash(texts[0])) == texts[0]
    assert store.slice("node-b", slice_hash(texts[9])) is None


def test_a_database_that_is_older_than_the_repositories_gets_its_slices_again(machine: Machine) -> None:
    machine.finish(machine.run())
    with sqlite3.connect(machine.config.database) as db:
        db.execute("DELETE FROM slices")
    again = machine.restart()
    again.work()
    assert list(slice_at_head(again, "node-a")["environments"]) == [MAIN]  # type: ignore[call-overload]
    assert slice_at_head(again, "node-b")["environments"] == {}


# From a version before


def as_earlier_version(machine: Machine) -> None:
    """Take away what that version had not."""
    shutil.rmtree(machine.config.node_git_dir)
    machine.store.close()
    make_earlier(machine.config.database, database._NODE_REPOSITORIES)


def test_a_provider_of_a_version_before_is_converted_when_it_starts(machine: Machine) -> None:
    machine.projects.definitions["staging"] = definition("staging")
    job = machine.run()
    provider_commit = machine.commit_of(job)
    as_earlier_version(machine)
    again = machine.restart()
    again.work()
    assert again.state(job) is JobState.WAITING
    assert again.history()[0] == provider_commit
    for node in NODES:
        assert again.store.follows_provider(node)
        assert slice_at_head(again, node)["node"] == node
    (waiting,) = again.store.waiting_intents("node-a")
    assert waiting.provider_commit == provider_commit
    assert waiting.commit_sha == again.history_of("node-a")[0]
    again.store.end_following("node-a")
    later = again.restart()
    later.work()
    assert [later.store.follows_provider(node) for node in NODES] == [False, True]
    later.finish(job)


# The API


def test_intents_are_found_in_the_repository_that_the_node_follows(machine: Machine) -> None:
    first = machine.run()
    old = machine.commit_of(first), machine.node_commit_of(first, "node-a")
    machine.finish(first)
    machine.projects.heads["main"] = "2" * 40
    job = machine.run()
    api = Api(
        machine.config, machine.store, machine.repository, machine.nodes, Disks(machine.config), lambda: None
    )
    for commit in (machine.commit_of(job), machine.node_commit_of(job, "node-a")):
        (found,) = pending(api, machine, commit)
        assert (found["jobId"], found["commitSha"]) == (job, commit)
        assert by_sha(api, machine, commit)["commitSha"] == commit
    for commit in old:
        assert pending(api, machine, commit) == []


def pending(api: Api, machine: Machine, commit: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = asked(api, machine, "pending", commit)["intents"]
    return found


def by_sha(api: Api, machine: Machine, commit: str) -> dict[str, object]:
    found: dict[str, object] = asked(api, machine, "by-sha", commit)
    return found


def asked(api: Api, machine: Machine, what: str, commit: str) -> dict[str, list[dict[str, object]]]:
    from hostenv_provider.secrets.tokens import TokenFile
    from hostenv_provider.web.messages import HttpRequest

    tokens = TokenFile(machine.config)
    tokens.create(["node-a"])
    headers = {"authorization": f"Bearer {tokens.show('node-a')}"}
    query = {"sha": commit, "node": "node-a"}
    answer = api.answer(HttpRequest("GET", f"/api/deploy-intents/{what}", query, headers))
    assert answer.status == 200
    assert answer.document is not None
    return json.loads(json.dumps(answer.document))  # type: ignore[no-any-return]


def test_a_commit_of_no_node_is_never_recorded_alone(machine: Machine) -> None:
    job = machine.run()
    machine.store.replace_commit(job, "node-a", NodeCommit("d" * 40, "{}"))
    assert machine.node_commit_of(job, "node-a") == "d" * 40
    assert machine.store.slice("node-a", slice_hash("{}")) == "{}"
