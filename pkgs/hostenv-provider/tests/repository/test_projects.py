import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boxes import boxes
from hostenv_core.errors import InvalidData
from hostenv_core.json_value import Value
from hostenv_provider.config import Config
from hostenv_provider.plan import lock_file
from hostenv_provider.plan.definitions import Application
from hostenv_provider.plan.flake_template import add_project
from hostenv_provider.plan.lock_file import Input
from hostenv_provider.plan.plan import Environment, Source, State
from hostenv_provider.plan.settings import ProviderSettings
from hostenv_provider.repository.mirror import Head, Mirror
from hostenv_provider.repository.planning import plan_project
from hostenv_provider.repository.projects import Projects
from hostenv_provider.repository.remotes import FetchFailed
from hostenv_provider.repository.repository import Repository

GIT = shutil.which("git") or "git"
NIX = shutil.which("nix")
KEY = "demo__drupal"
MAIN = '{ main = { type = "production"; application = { name = "php"; }; }; }'

needs_nix = pytest.mark.skipif(NIX is None, reason="nix is not installed")
Commit = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    subprocess.run([GIT, "init", "--quiet", "--initial-branch=main", str(folder)], check=True)
    return folder


@pytest.fixture
def commit(project: Path) -> Commit:
    """Commits a project's flake, by the text of its environments or as a whole, and returns the SHA."""

    def run(environments: str = MAIN, flake: str | None = None, branch: str = "main") -> str:
        text = flake or (
            "{ outputs = { self }: { lib.hostenv = rec {"
            f" x86_64-linux.environments = {environments}; aarch64-linux = x86_64-linux; }}; }}; }}"
        )
        git = [GIT, "-C", str(project), "-c", "user.name=x", "-c", "user.email=x@localhost"]
        subprocess.run([*git, "checkout", "--quiet", "-B", branch], check=True)
        (project / "flake.nix").write_text(text)
        subprocess.run([*git, "add", "--all"], check=True)
        subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "x"], check=True)
        return subprocess.run(
            [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
        ).stdout.strip()

    return run


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What evaluates flakes."""
    path = tmp_path / "evaluate.sock"
    monkeypatch.setattr(Config, "evaluation_socket", path)
    with boxes(path, {"git": GIT, "nix": NIX or "/nonexistent"}):
        yield


@pytest.fixture
def repository(tmp_path: Path, box: None) -> Repository:  # noqa: ARG001
    tools = {"git": GIT, "nix": NIX or "/nonexistent"}
    config = Config(
        tmp_path / "data",
        tmp_path / "socket",
        "root",
        "http://provider",
        source_folders=(tmp_path,),
        tools=tools,
    )
    config.data_dir.mkdir()
    made = Repository(config)
    settings = {
        "hostenvHostname": "demo.hostenv.test",
        "nodeFor": {"default": "node-a"},
        "nodes": {"node-a": {"address": "192.0.2.1"}},
    }
    made.create(ProviderSettings.parse(settings, "http://provider"))
    made.sync()
    return made


def lock(repository: Repository, **changes: Any) -> None:
    """A lock file as Nix writes it, with one project."""
    node = {
        "flake": False,
        "locked": {"narHash": "sha256-x", "rev": "a" * 40, "type": "git", "url": "file:///srv/project"},
        "original": {"ref": "HEAD", "type": "git", "url": "file:///srv/project"},
        **changes,
    }
    root = {"inputs": {KEY: KEY, "nixpkgs": "nixpkgs"}}
    document = {"nodes": {KEY: node, "nixpkgs": {}, "root": root}, "root": "root", "version": 7}
    repository.write_text("flake.lock", json.dumps(document))


def add(repository: Repository, project: Path) -> None:
    url = f"git+file://{project}"
    repository.write_text("flake.nix", add_project(repository.read_text("flake.nix"), KEY, url))
    Projects(repository).lock_input(KEY)


def refusal(repository: Repository) -> str:
    with pytest.raises(InvalidData) as error:
        Projects(repository).evaluate(KEY)
    text = str(error.value)
    assert text.startswith(f"{KEY}, flake.nix at ")
    assert text.isprintable()
    assert "warning" not in text
    assert not re.search(r"/tmp|store|[0-9a-z]{32}-", text), "no place of ours is told"
    return text


def test_projects_of_the_lock_file(repository: Repository) -> None:
    assert Projects(repository).inputs() == {}

    lock(repository)

    assert Projects(repository).inputs() == {
        KEY: Input(KEY, "git+file:///srv/project", "a" * 40, "sha256-x", "HEAD", None)
    }


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"flake": True}, "add `flake = false;`"),
        ({"original": {"type": "github", "owner": "a", "repo": "b"}}, r"give it a git\+ address"),
        ({"original": {"type": "git", "url": "file:///srv/${x}"}}, "project address"),
        ({"locked": {"type": "git", "url": "file:///srv/project"}}, "commit what has changed"),
    ],
)
def test_a_project_that_an_operator_wrote_wrongly(
    repository: Repository, changes: dict[str, Any], advice: str
) -> None:
    lock(repository, **changes)

    with pytest.raises(Exception, match=advice) as error:
        Projects(repository).inputs()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("entry", "advice"),
    [
        ({"asked": {"type": "git", "url": "https://example.org/a"}, "flake": True}, "flake = false"),
        (
            {"asked": {"type": "github", "owner": "a", "repo": "b"}, "flake": False},
            r"give it a git\+ address",
        ),
    ],
)
def test_an_input_that_is_no_project(entry: object, advice: str) -> None:
    with pytest.raises(InvalidData, match=advice):
        lock_file.original(Value(entry, "flake.nix", "inputs.x"))


@pytest.mark.parametrize(
    ("asked", "reference"),
    [
        ({}, "HEAD"),
        ({"ref": "HEAD"}, "HEAD"),
        ({"ref": "hosting"}, "refs/heads/hosting"),
        ({"ref": "refs/tags/v1"}, "refs/tags/v1"),
    ],
)
def test_the_reference_that_an_input_follows(asked: dict[str, str], reference: str) -> None:
    assert lock_file.reference_of(asked) == reference


def test_two_spellings_of_one_project(repository: Repository) -> None:
    lock(repository)
    document = json.loads(repository.read_text("flake.lock"))
    document["nodes"]["root"]["inputs"]["De-mo__drupal"] = KEY
    repository.write_text("flake.lock", json.dumps(document))

    with pytest.raises(InvalidData, match="the same project"):
        Projects(repository).inputs()


def test_an_unknown_project(repository: Repository) -> None:
    lock(repository)

    with pytest.raises(InvalidData, match=f"no project 'demo__shop'; there are: {KEY}"):
        Projects(repository).update_input("demo__shop")


def environment(project: Path, rev: str, branch: str = "main") -> Environment:
    return Environment(
        organisation="demo",
        project="drupal",
        name="main",
        enable=True,
        type="production",
        node="node-a",
        previous_node=None,
        uid=1002,
        migrations=(),
        application=Application("php", "."),
        virtual_hosts={},
        users={},
        checks=(),
        source=Source(f"git+file://{project}", branch, rev, "sha256-x"),
        hostenv_hostname="demo.hostenv.test",
        backups_repo_host="http://provider/backups",
    )


def mirrored(repository: Repository) -> dict[str, str]:
    path = repository.config.git_dir / f"{KEY}.git"
    lines = subprocess.run([GIT, "ls-remote", str(path)], check=True, capture_output=True, text=True).stdout
    return {ref: sha for sha, ref in (line.split() for line in lines.splitlines())}


def test_the_mirror_shows_planned_revisions_and_nothing_else(
    repository: Repository, project: Path, commit: Commit
) -> None:
    first, second = commit(), commit(environments="{ }")
    planned = environment(project, first)

    Projects(repository).mirror(KEY, {planned.user_name: planned})
    assert mirrored(repository) == {f"refs/heads/{planned.user_name}": first}

    Projects(repository).mirror(
        KEY, {planned.user_name: replace(planned, source=environment(project, second).source)}
    )
    assert mirrored(repository) == {f"refs/heads/{planned.user_name}": second}

    shutil.rmtree(project)
    Projects(repository).mirror(KEY, {planned.user_name: planned})
    assert mirrored(repository) == {f"refs/heads/{planned.user_name}": first}


def test_a_mirror_gets_a_commit_that_its_branch_has_lost(
    repository: Repository, project: Path, commit: Commit
) -> None:
    commit()
    lost = commit(environments="{ }")
    subprocess.run([GIT, "-C", str(project), "reset", "--quiet", "--hard", "HEAD~1"], check=True)

    planned = environment(project, lost)
    Projects(repository).mirror(KEY, {planned.user_name: planned})

    assert mirrored(repository) == {f"refs/heads/{planned.user_name}": lost}


class Killed(BaseException):
    """What `kill -9` is to the thread that it hits."""


def test_a_mirror_is_made_after_a_kill_at_any_moment_of_its_making(
    repository: Repository, project: Path, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = environment(project, commit())
    path = repository.config.git_dir / f"{KEY}.git"
    git = repository.git

    for moment in ("init", "config", "fetch", "update-ref"):

        def killed(*arguments: str, moment: str = moment, **options: Any) -> Any:
            if moment in arguments and arguments[:2] != ("config", "http.receivepack"):
                for name in ("config.lock", "packed-refs.lock", f"refs/heads/{planned.user_name}.lock"):
                    if path.is_dir():
                        (path / name).touch()
                raise Killed
            return git(*arguments, **options)

        monkeypatch.setattr(repository, "git", killed)
        with pytest.raises(Killed):
            Projects(repository).mirror(KEY, {planned.user_name: planned})
        monkeypatch.undo()

    Projects(repository).mirror(KEY, {planned.user_name: planned})

    assert mirrored(repository) == {f"refs/heads/{planned.user_name}": planned.source.rev}
    for key, value in (("http.receivepack", "false"), ("transfer.hideRefs", "refs/hostenv")):
        assert repository.git("config", key, cwd=path).text.strip() == value


def test_a_mirror_of_a_revision_that_does_not_exist(
    repository: Repository, project: Path, commit: Commit
) -> None:
    commit()
    planned = environment(project, "b" * 40)

    with pytest.raises(FetchFailed, match="not our ref b"):
        Projects(repository).mirror(KEY, {planned.user_name: planned})


def test_a_job_ends_with_one_line_if_the_project_may_not_be_fetched(repository: Repository) -> None:
    lock(repository, original={"ref": "HEAD", "type": "git", "url": "https://192.168.7.7/site"})

    with pytest.raises(InvalidData) as error:
        Projects(repository).evaluate(KEY)

    assert str(error.value) == (
        "git+https://192.168.7.7/site: 192.168.7.7 is at 192.168.7.7, a private address: name its network in"
        " sourceNetworks in the provider's configuration if projects may be fetched from there"
    )


def test_trust_is_taken_back_when_the_project_is_refused(repository: Repository) -> None:
    def trusted() -> list[str]:
        command = ("config", "--global", "--get-all", "safe.directory")
        return repository.git(*command, cwd=repository.config.data_dir, check=False).text.splitlines()

    with suppress(InvalidData), Projects(repository).trusting("git+file:///srv/project"):
        assert trusted() == ["/srv/project", "/srv/project/.git"]
        raise InvalidData("no")
    assert trusted() == []

    with Projects(repository).trusting("git+https://example.org/project"):
        assert trusted() == []
    for _ in range(2):
        with Projects(repository).trusting("git+file:///srv/project"):
            pass
    assert trusted() == ["/srv/project", "/srv/project/.git"]


@needs_nix
def test_a_project_is_locked_evaluated_and_resolved(
    repository: Repository, project: Path, commit: Commit
) -> None:
    first = commit()
    next_head = commit(environments="{ }", branch="next")
    commit()
    add(repository, project)

    second = commit(environments='{ main = { type = "testing"; application.name = "php"; }; }')
    assert Projects(repository).evaluate(KEY)["main"].type == "production"
    Projects(repository).update_input(KEY)

    assert Projects(repository).inputs()[KEY].rev == second != first
    assert Projects(repository).evaluate(KEY)["main"].type == "testing"
    mirror = Mirror(repository, KEY)
    assert Projects(repository).resolve(KEY, mirror, "next").rev == next_head
    source = Projects(repository).resolve(KEY, mirror, "main")
    assert (source.rev, source.ref, source.url) == (second, "main", f"git+file://{project}")
    assert source.nar_hash.startswith("sha256-")
    assert source.nar_hash == Projects(repository).inputs()[KEY].nar_hash
    with pytest.raises(InvalidData, match="no branch gone at"):
        Projects(repository).resolve(KEY, mirror, "gone")


@needs_nix
def test_a_lock_goes_by_what_operators_made_of_flake_nix(
    repository: Repository, project: Path, commit: Commit
) -> None:
    commit()
    moved = project.with_name("moved")
    add(repository, project)
    shutil.copytree(project, moved)
    flake = repository.read_text("flake.nix")
    document = json.loads(repository.read_text("flake.lock"))
    document["nodes"]["demo__gone"] = document["nodes"][KEY]
    document["nodes"]["root"]["inputs"]["demo__gone"] = "demo__gone"
    repository.write_text("flake.lock", json.dumps(document))
    repository.write_text(
        "flake.nix", flake.replace(f"file://{project}?ref=HEAD", f"file://{moved}?ref=main")
    )
    shutil.rmtree(project)

    Projects(repository).update_input(KEY)

    found = Projects(repository).inputs()
    assert list(found) == [KEY], "what flake.nix no longer has is gone"
    assert (found[KEY].url, found[KEY].reference) == (f"git+file://{moved}", "refs/heads/main")
    assert agrees(repository), "Nix has nothing to add or to change"


def agrees(repository: Repository) -> bool:
    """Whether Nix takes the lock file as it is for one of this `flake.nix`."""
    repository.git("add", "--all")
    command = (
        "flake",
        "metadata",
        "--no-update-lock-file",
        "--no-write-lock-file",
        str(repository.work_tree),
    )
    return Projects(repository)._nix(*command, check=False).returncode == 0


@needs_nix
@pytest.mark.parametrize(
    "url",
    [
        "git+https://git.example.org/group/pro-ject_1.git",
        "git+ssh://git@git.example.org:2222/~user/site+x.git",
        "git+file:///srv/a%20b",
        "git+http://git.example.org/a@b/c",
    ],
)
def test_nix_agrees_with_the_form_of_an_address(
    repository: Repository, project: Path, commit: Commit, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rev = commit()
    obtain = Mirror.obtain
    monkeypatch.setattr(Mirror, "head", lambda *_: Head(rev, "main"))
    monkeypatch.setattr(Mirror, "obtain", lambda self, _, *rest: obtain(self, f"git+file://{project}", *rest))
    repository.write_text("flake.nix", add_project(repository.read_text("flake.nix"), KEY, url))
    assert not agrees(repository)

    Projects(repository).lock_input(KEY)

    assert agrees(repository)


@needs_nix
def test_uncommitted_changes_of_a_local_project_do_not_count(
    repository: Repository, project: Path, commit: Commit
) -> None:
    sha = commit()
    (project / "flake.nix").write_text("{")

    add(repository, project)

    assert Projects(repository).inputs()[KEY].rev == sha
    assert list(Projects(repository).evaluate(KEY)) == ["main"]


@needs_nix
def test_a_project_that_is_gone_leaves_a_clear_error(repository: Repository, project: Path) -> None:
    with pytest.raises(FetchFailed, match="nowhere: `git ls-remote`: fatal: ") as error:
        add(repository, project.with_name("nowhere"))
    assert "\n" not in str(error.value)


@needs_nix
def test_planning_twice_gives_the_same_plan(repository: Repository, project: Path, commit: Commit) -> None:
    commit()
    add(repository, project)

    first = plan_project(repository, KEY, repository.read_plan(), State.empty())
    assert plan_project(repository, KEY, *first) == first


HOSTILE = {
    "import from derivation": (
        '(import (derivation { name = "x"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ ]; }))',
        "import from derivation",
    ),
    "endless recursion": ("(let f = x: f (x + 1); in f 0)", "stack overflow"),
    "endless work": (
        "(let f = n: builtins.foldl' (a: b: a + b) n (builtins.genList (x: x) 100000);"
        " in builtins.foldl' (a: n: a + f n) 0 (builtins.genList (n: n) 1000000))",
        # by its processor time, or, where others are at work, by the clock
        "its evaluation ",
    ),
    "endless memory": (
        '(let s = n: if n == 0 then "x" else let t = s (n - 1); in t + t; in s 40)',
        "MiB of memory",
    ),
    "too much output": (
        '(builtins.genList (x: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") 100000)',
        "writes more than 1 MiB",
    ),
    "what moves the cursor": (r'(throw "first\rsecond")', "cannot be evaluated: first"),
    "files of the machine": ('(builtins.readFile "/etc/passwd")', "forbidden in restricted mode"),
    "the network": (
        f'(builtins.fetchurl {{ url = "http://127.0.0.1/x"; sha256 = "{"0" * 52}"; }})',
        "forbidden in restricted mode",
    ),
    "hashes of ours": ('(throw "${./flake.nix} ${builtins.toFile "x" "y"}")', "cannot be evaluated: …"),
    "an exception": (r'(throw "first\nsecond")', "cannot be evaluated: first"),
    "no object": ("[ ]", "environments: must be an object"),
    "a function": ("(x: x)", "cannot be evaluated"),
    "a hostile name": ('{ "../x" = { }; }', "is not valid as an environment's name"),
}


@needs_nix
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_flake_ends_in_one_line(
    repository: Repository, project: Path, commit: Commit, case: str
) -> None:
    environments, message = HOSTILE[case]
    commit(environments=environments)
    add(repository, project)

    assert message in refusal(repository)


@needs_nix
@pytest.mark.parametrize(
    ("flake", "message"),
    [
        ('{ inputs.x.url = "github:a/b"; outputs = { self, x }: { }; }', "has inputs"),
        ("{ outputs = { self, nixpkgs }: { }; }", "required argument 'nixpkgs'"),
        ("{ outputs = { self }: { }; }", "attribute 'lib' missing"),
        ("{ outputs = 1; }", "not a function"),
        ("{ foo", "syntax error"),
        ("{ }", "attribute 'outputs' missing"),
    ],
)
def test_a_broken_flake_ends_in_one_line(
    repository: Repository, project: Path, commit: Commit, flake: str, message: str
) -> None:
    commit(flake=flake)
    add(repository, project)

    assert message in refusal(repository)


@needs_nix
def test_every_commit_is_a_new_generation_that_knows_its_commit(
    repository: Repository, project: Path, commit: Commit
) -> None:
    commit()
    add(repository, project)
    plan, state = plan_project(repository, KEY, repository.read_plan(), State.empty())
    repository.write_generated(plan, state)
    first = repository.commit("A")
    second = repository.commit("B", allow_empty=True)
    repository.push(second)
    # A node cannot reach the project, and need not.
    shutil.rmtree(project)

    for sha in (first, second):
        toplevel_of_node = '#nixosConfigurations."node-a".config.system.build.toplevel'
        reference = f"git+file://{repository.bare}?rev={sha}{toplevel_of_node}"
        command = [
            NIX or "",
            "--extra-experimental-features",
            "nix-command flakes",
            "--option",
            "flake-registry",
            "",
        ]
        environ = {**os.environ, "HOME": str(repository.config.data_dir)}
        answer = subprocess.run(
            [*command, "build", "--no-link", "--print-out-paths", reference],
            check=True,
            capture_output=True,
            text=True,
            env=environ,
        )
        toplevel = Path(answer.stdout.strip())
        assert toplevel.name.endswith(f"-hostenv-node-a-{sha}")
        assert json.loads((toplevel / "slice.json").read_text()) == plan.slice("node-a")
        assert os.access(toplevel / "bin/switch-to-configuration", os.X_OK)
