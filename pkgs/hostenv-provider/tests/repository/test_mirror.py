"""Fetching with real Git from real servers, on their good and bad days."""

import subprocess
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from git_hosts import GIT, GitHost, git_host, refused, silent_host
from hostenv_core.errors import HostenvError, InvalidData
from hostenv_provider.config import Config
from hostenv_provider.repository import mirror
from hostenv_provider.repository.mirror import Head, Mirror
from hostenv_provider.repository.remotes import FetchFailed
from hostenv_provider.repository.repository import Repository

KEY = "demo__drupal"
MAIN = "refs/heads/main"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n"


class Project:
    """A customer's repository at its Git host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([GIT, "init", "--quiet", "--initial-branch=main", str(folder)], check=True)

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=x", "-c", "user.email=x@localhost")
        command = [GIT, "-C", str(self.folder), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, branch: str = "main") -> str:
        self.git("checkout", "--quiet", "-B", branch)
        self.git("commit", "--quiet", "--allow-empty", "-m", "x")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "hosted" / "site")


@pytest.fixture
def host(project: Project) -> Iterator[GitHost]:
    with git_host(project.folder.parent) as running:
        yield running


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    config = Config(
        tmp_path / "data",
        tmp_path / "socket",
        "root",
        "http://provider",
        source_folders=(tmp_path / "hosted",),
        source_networks=(ip_network("127.0.0.0/8"),),
        tools={"git": GIT},
    )
    config.git_dir.mkdir(parents=True)
    return Repository(config)


def error_of(repository: Repository, url: str) -> str:
    with pytest.raises(FetchFailed) as error:
        Mirror(repository, KEY).head(url, MAIN)
    text = str(error.value)
    assert text.startswith(f"{url}: ")
    assert text.isprintable()
    return text


def test_what_a_host_has_is_fetched_over_http(
    repository: Repository, host: GitHost, project: Project
) -> None:
    rev = project.commit()
    fetched = Mirror(repository, KEY)

    assert fetched.head(host.url("site"), "HEAD") == Head(rev, "main")
    assert fetched.head(host.url("site"), MAIN) == Head(rev, None)
    fetched.obtain(host.url("site"), MAIN, rev)

    assert fetched.has(rev)
    requests = len(host.asked)
    Mirror(repository, KEY).obtain(host.url("site"), MAIN, rev)
    assert len(host.asked) == requests, "what is there is not asked for again"


def test_the_default_branch_goes_by_the_hosts_word(
    repository: Repository, host: GitHost, project: Project
) -> None:
    rev = project.commit()
    project.git("branch", "--move", "main", "trunk")

    assert Mirror(repository, KEY).head(host.url("site"), "HEAD") == Head(rev, "trunk")
    project.git("checkout", "--quiet", "--detach")
    assert Mirror(repository, KEY).head(host.url("site"), "HEAD") == Head(rev, None)


def test_only_the_very_reference_counts(repository: Repository, host: GitHost, project: Project) -> None:
    rev = project.commit()
    project.git("update-ref", "refs/remotes/origin/refs/heads/gone", rev)

    with pytest.raises(InvalidData, match="there is no branch gone at git"):
        Mirror(repository, KEY).head(host.url("site"), "refs/heads/gone")


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "could not read Username"), (403, "403"), (404, "not found"), (500, "500"), (503, "503")],
)
def test_an_answer_that_is_none_is_said_in_gits_words(
    repository: Repository, host: GitHost, project: Project, status: int, words: str
) -> None:
    rev = project.commit()
    fetched = Mirror(repository, KEY)
    fetched.obtain(host.url("site"), MAIN, rev)
    host.status = status

    assert words in error_of(repository, host.url("site")), "and not what was fetched before"


def test_a_host_that_refuses_connections(repository: Repository) -> None:
    assert "connect" in error_of(repository, f"git+http://127.0.0.1:{refused()}/site").lower()


@pytest.mark.parametrize(
    "answer", [b"", OK, OK + b"Content-Length: 5000\r\n\r\n001e# service=git-upload-pack\n"]
)
def test_a_host_that_falls_silent_is_given_up(
    repository: Repository, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "_ANSWER_TIMEOUT", 1)
    with silent_host(answer) as port:
        for scheme in ("http", "ssh"):
            url = f"git+{scheme}://127.0.0.1:{port}/site"
            assert "`git ls-remote` took 1 s" in error_of(repository, url)


def test_a_transfer_that_stops_is_given_up_before_its_time(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mirror._SETTINGS, "http.lowSpeedTime", "1")
    with silent_host(OK + b"Content-Length: 5000\r\n\r\n001e# service=git-upload-pack\n") as port:
        fetched = Mirror(repository, KEY)
        with pytest.raises(FetchFailed, match=r"`git fetch`: .*too slow"):
            fetched.obtain(f"git+http://127.0.0.1:{port}/site", MAIN, "a" * 40)


def test_all_fetches_of_a_job_have_one_time_limit(
    repository: Repository, host: GitHost, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    revs = [project.commit(branch) for branch in ("one", "two", "three")]
    limits: list[float] = []
    now = 0.0
    git = repository.git

    def slow(*arguments: str, **options: Any) -> Any:
        nonlocal now
        if "fetch" in arguments:
            limits.append(options["timeout"])
            now += 70
        return git(*arguments, **options)

    monkeypatch.setattr("hostenv_provider.repository.mirror.time.monotonic", lambda: now)
    monkeypatch.setattr(repository, "git", slow)
    fetched = Mirror(repository, KEY)
    for branch, rev in zip(("one", "two", "three"), revs, strict=True):
        fetched.obtain(host.url("site"), f"refs/heads/{branch}", rev)
        now += 40

    assert limits == [180, 70, 1]


@pytest.mark.parametrize(
    ("first", "second"),
    [("release", "release/2.0"), ("release/2.0", "release"), ("Release", "release"), ("a/b/c", "a/b")],
)
def test_branches_whose_names_are_in_each_others_way(
    repository: Repository, host: GitHost, project: Project, first: str, second: str
) -> None:
    for branch in (first, second):
        rev = project.commit(branch)
        Mirror(repository, KEY).obtain(host.url("site"), f"refs/heads/{branch}", rev)
        project.git("checkout", "--quiet", "--detach")
        project.git("branch", "-D", branch)

        assert Mirror(repository, KEY).has(rev)


def test_a_mirror_that_an_earlier_version_made(
    repository: Repository, host: GitHost, project: Project
) -> None:
    path = repository.config.git_dir / f"{KEY}.git"
    repository.make_bare(path)
    old, new = project.commit(), project.commit("main-2")
    repository.git("fetch", "--quiet", str(project.folder), f"{old}:refs/hostenv/refs/heads/main", cwd=path)

    Mirror(repository, KEY).obtain(host.url("site"), "refs/heads/main-2", new)

    assert Mirror(repository, KEY).has(new)


@pytest.mark.parametrize("location", ["http://127.0.0.1:1", "file:///etc", "ext::sh -c true"])
def test_a_host_leads_to_no_other_place(
    repository: Repository, host: GitHost, project: Project, location: str
) -> None:
    project.commit()
    host.status, host.location = 302, location

    assert error_of(repository, host.url("site")).endswith("302; give the address to which it leads")


def test_no_program_of_the_hosts_choice_is_run(repository: Repository, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    for url in (f"git+ext::touch {mark}", f"git+ssh://-oProxyCommand=touch%20{mark}/x"):
        with pytest.raises(HostenvError):
            Mirror(repository, KEY).head(url, MAIN)

    assert not mark.exists()
