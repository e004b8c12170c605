"""The provider repository: a bare one for nodes and operators, and the work tree where commits are made."""

import logging
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hostenv_core.errors import HostenvError, InvalidData
from hostenv_core.files import Stamp, stamp
from hostenv_core.locks import locked
from hostenv_core.processes import CommandFailed, CommandTimedOut, Completed, run

from hostenv_provider.config import Config
from hostenv_provider.plan import generated, lock_file
from hostenv_provider.plan.flake_template import provider_flake
from hostenv_provider.plan.lock_file import EMPTY, LOCK, Input
from hostenv_provider.plan.node_tree import FLAKE, SETTINGS
from hostenv_provider.plan.plan import Plan, State
from hostenv_provider.plan.settings import ProviderSettings

BRANCH = "main"

MAX_OUTPUT = 64 << 20
"""Bytes that git and nix may answer, where a caller does not say otherwise: of a repository's size."""
_log = logging.getLogger(__name__)
_TIMEOUT = 300
_SHA = re.compile(r"[0-9a-f]{40}")
# Git holds a lock of a reference for milliseconds; an older one was left by a process that was killed.
_STALE_LOCK_SECONDS = 60

# Git would do it at any moment, even in the middle of a push; `Repository.collect` does it between two.
_COLLECTED_BY_US = {"gc.auto": "0"}
_BARE_CONFIGURATION = {
    "http.receivepack": "false",
    # comin refuses a rewritten history permanently.
    "receive.denyNonFastForwards": "true",
    "receive.denyDeletes": "true",
    "core.fsync": "committed,reference",
    # Keeps the revisions to which a roll-back may return.
    "core.logAllRefUpdates": "true",
    "transfer.hideRefs": "refs/hostenv",
    **_COLLECTED_BY_US,
}
Stamps = tuple[Stamp | None, ...]
_WORK_TREE_CONFIGURATION = {"core.fsync": "added,reference", **_COLLECTED_BY_US}
# Packing gets one core, and this much memory for the contents that it compares.
_COLLECTION = {
    "gc.auto": "6700",
    "gc.autoDetach": "false",
    "pack.threads": "1",
    "pack.windowMemory": "128m",
}
_COLLECTION_TIMEOUT = 1800
# More than there are in the provider's repository before it is collected, which a clone of it shares.
_MAX_LOOSE = 10_000
_NEEDED = "refs/hostenv/needed"
_MAX_ANCESTRY = 20_000


class NotBootstrapped(HostenvError):
    """There is no provider repository yet: `hostenv-provider init` makes it."""


class PushRejected(HostenvError):
    """Somebody else pushed in the meantime: start again from `Repository.sync`."""


class Repository:
    """Effects on the provider repository.

    The work tree belongs to whoever holds the lock; `published_plan`, `contains` and `is_ancestor` need none,
    because they look at the bare repository only.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.work_tree = config.repo_dir
        self.bare = config.git_dir / "provider.git"
        self._published: tuple[Stamps, str, Plan] | None = None
        self._ancestry: dict[tuple[Path, str, str], bool] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock that worker and commands share; waits for it. Raises HostenvError."""
        with locked(self.config.lock):
            yield

    @contextmanager
    def changing(self) -> Iterator[str]:
        """Hold the lock on a synchronised work tree; gives its SHA. An exception takes back all changes."""
        with self.locked():
            head = self.sync()
            try:
                yield head
            except BaseException:
                self._reset()
                raise

    def sync(self) -> str:
        """Fetch, reset to the remote's head, clean. Returns that head's SHA.

        Raises NotBootstrapped or CommandFailed.
        """
        self.published_head()
        remove_locks(self.bare, _STALE_LOCK_SECONDS)
        if (self.work_tree / ".git").exists():
            try:
                return self._follow()
            except CommandTimedOut:
                raise
            except CommandFailed as error:
                # A crash may have damaged it, and it holds nothing that cannot be planned again.
                _log.warning("%s: made anew: %s", self.work_tree, error)
        shutil.rmtree(self.work_tree, ignore_errors=True)
        self._clone(self.bare)
        return self._follow()

    def _follow(self) -> str:
        remove_locks(self.work_tree / ".git", 0)
        self.git(
            "fetch", "--quiet", "--no-tags", "origin", f"+refs/heads/{BRANCH}:refs/remotes/origin/{BRANCH}"
        )
        self._reset()
        return self.git("rev-parse", "HEAD").text.strip()

    def _clone(self, source: Path) -> None:
        settings = [f"--config={key}={value}" for key, value in _WORK_TREE_CONFIGURATION.items()]
        self.git("clone", "--quiet", *settings, str(source), str(self.work_tree), cwd=source)

    def create(self, settings: ProviderSettings) -> str:
        """Make the repository for a new provider, under the lock. Returns its first commit's SHA.

        Raises HostenvError if there is one already.
        """
        if self.bare.exists():
            raise HostenvError(f"{self.bare} exists: this provider is initialised already")
        # The provider is new, so no node has ever followed a repository other than its own.
        self.config.node_git_dir.mkdir(parents=True, exist_ok=True)
        unfinished = self.config.git_dir / "provider.git.new"
        for leftover in (unfinished, self.work_tree):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            self._init_bare(unfinished)
            self._clone(unfinished)
            self.git("checkout", "--quiet", "-B", BRANCH)
            self.write_text(FLAKE, provider_flake())
            self.write_text(LOCK, generated.to_text(EMPTY))
            self.write_text(SETTINGS, generated.to_text(settings.to_json()))
            self.write_generated(Plan.empty(settings), State.empty())
            sha = self.commit("A provider without projects")
            self.git("push", "--quiet", "origin", f"{sha}:refs/heads/{BRANCH}")
            self.git("remote", "set-url", "origin", str(self.bare))
            unfinished.rename(self.bare)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.rmtree(self.work_tree, ignore_errors=True)
            raise
        return sha

    def read_settings(self) -> ProviderSettings:
        """`provider.json` of the work tree. Raises InvalidData."""
        return ProviderSettings.parse(self.read_json(SETTINGS), self.config.public_url)

    def read_plan(self) -> Plan:
        """`generated/plan.json` of the work tree. Raises InvalidData."""
        return Plan.from_json(self.read_json(generated.PLAN), generated.PLAN)

    def read_state(self) -> State:
        """`generated/state.json` of the work tree. Raises InvalidData."""
        return State.from_json(self.read_json(generated.STATE), generated.STATE)

    def read_text(self, path: str) -> str:
        """A file of the work tree. Raises InvalidData if it is absent or not UTF-8."""
        try:
            return (self.work_tree / path).read_text(encoding="utf-8")
        except OSError as error:
            raise InvalidData(
                f"{path}: cannot be read from the provider repository ({error.strerror})"
            ) from error
        except UnicodeDecodeError as error:
            raise InvalidData(f"{path}: is not UTF-8") from error

    def read_json(self, path: str) -> object:
        """A JSON file of the work tree. Raises InvalidData."""
        return generated.from_text(self.read_text(path), path)

    def published_head(self) -> str:
        """The SHA of the remote's main branch. Raises NotBootstrapped."""
        if not self.bare.is_dir():
            raise NotBootstrapped(f"{self.bare} does not exist: run `hostenv-provider init`")
        answer = self._bare_git("rev-parse", "--verify", "--quiet", f"refs/heads/{BRANCH}", check=False)
        if answer.returncode:
            raise NotBootstrapped(
                f"{self.bare} has no branch {BRANCH}: run `hostenv-provider init`, or push it"
            )
        return answer.text.strip()

    def published_plan(self) -> Plan:
        """The plan that the nodes can see.

        Requests without a token need it, so no process is started while the files of the reference are the
        same. Raises NotBootstrapped if there is no repository, InvalidData if the plan cannot be read.
        """
        stamps = reference_stamps(self.bare)
        published = self._published
        if published is not None and published[0] == stamps and any(stamps):
            return published[2]
        head = self.published_head()
        if published is not None and published[1] == head:
            plan = published[2]
        else:
            answer = self._bare_git("show", f"{head}:{generated.PLAN}", check=False)
            if answer.returncode:
                raise InvalidData(f"{generated.PLAN}: is not in commit {head}: run `hostenv-provider plan`")
            plan = Plan.from_json(generated.from_text(answer.text, generated.PLAN), generated.PLAN)
        self._published = (stamps, head, plan)
        return plan

    def published(self) -> object:
        """Differs when the main branch has moved; None without one. Starts no process."""
        stamps = reference_stamps(self.bare)
        return stamps if any(stamps) else None

    def published_inputs(self) -> dict[str, Input]:
        """All projects as the nodes see them locked. Raises NotBootstrapped or InvalidData."""
        return lock_file.parse(self._published_json(LOCK))

    def published_settings(self) -> ProviderSettings:
        """`provider.json` as operators have pushed it. Raises NotBootstrapped or InvalidData."""
        return ProviderSettings.parse(self._published_json(SETTINGS), self.config.public_url)

    def _published_json(self, path: str) -> object:
        head = self.published_head()
        answer = self._bare_git("show", f"{head}:{path}", check=False)
        if answer.returncode:
            raise InvalidData(f"{path}: is not in commit {head}: restore it")
        return generated.from_text(answer.text, path)

    def set_node(self, user: str, node: str) -> None:
        """Place an environment on `node` in `provider.json`. Raises InvalidData if there is no such node."""
        settings = self.read_settings()
        document = replace(settings, placements={**settings.placements, user: node}).to_json()
        ProviderSettings.parse(document, self.config.public_url)
        self.write_text(SETTINGS, generated.to_text(document))

    def set_hosts(self, key: str, grants: Collection[str]) -> None:
        """Say in `provider.json` which host names a project may have. Raises InvalidData for a wrong one."""
        settings = self.read_settings()
        document = replace(settings, grants={**settings.grants, key: tuple(sorted(grants))}).to_json()
        ProviderSettings.parse(document, self.config.public_url)
        self.write_text(SETTINGS, generated.to_text(document))

    def write_generated(self, plan: Plan, state: State) -> None:
        """Write `generated/` anew."""
        shutil.rmtree(self.work_tree / generated.FOLDER, ignore_errors=True)
        for path, content in generated.render(plan, state).items():
            self.write_text(path, content)
            if generated.is_program(path):
                (self.work_tree / path).chmod(0o755)

    def read_generated(self) -> dict[str, str]:
        """All files of `generated/` in the work tree."""
        folder = self.work_tree / generated.FOLDER
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return {
            str(path.relative_to(self.work_tree)): path.read_text(encoding="utf-8", errors="replace")
            for path in files
        }

    def changed(self) -> bool:
        """Whether the work tree differs from its commit."""
        return self.git("status", "--porcelain", "--untracked-files=all").text != ""

    def commit(self, message: str, *, allow_empty: bool = False) -> str:
        """Commit everything. Returns the SHA."""
        self.git("add", "--all")
        self.git(
            "commit", "--quiet", "--no-gpg-sign", *(["--allow-empty"] if allow_empty else []), "-m", message
        )
        return self.git("rev-parse", "HEAD").text.strip()

    def push(self, sha: str) -> None:
        """Push a commit to the remote's main branch; one that is there already needs nothing.

        Raises PushRejected or CommandFailed.
        """
        if self.contains(sha):
            return
        answer = self.git("push", "--porcelain", "origin", f"{sha}:refs/heads/{BRANCH}", check=False)
        if answer.returncode == 0:
            return
        report = " ".join(f"{answer.text} {answer.error_text}".split())
        if "[rejected]" in report or "cannot lock ref" in report:
            raise PushRejected(f"{self.bare}: {BRANCH} has moved: {report}")
        raise CommandFailed(f"git push to {self.bare} failed: {report}")

    def contains(self, sha: str) -> bool:
        """Whether the remote's main branch has `sha` in its history.

        An operator's merge may have made it a second parent; its changes are deployed all the same.
        """
        return self.is_ancestor(sha, self.published_head())

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether `older` is `newer` or in its history; false if the remote lacks one of them. Cached."""
        return self.is_ancestor_in(self.bare, older, newer)

    def is_ancestor_in(self, bare: Path, older: str, newer: str) -> bool:
        """The same in another bare repository of the service's."""
        key = (bare, older, newer)
        if key not in self._ancestry:
            if not _SHA.fullmatch(older) or not _SHA.fullmatch(newer) or not bare.is_dir():
                return False
            arguments = (f"--git-dir={bare}", "merge-base", "--is-ancestor", older, newer)
            status = self.git(*arguments, cwd=self.config.data_dir, check=False).returncode
            if status not in (0, 1):
                return False
            if len(self._ancestry) >= _MAX_ANCESTRY:
                self._ancestry.clear()
            self._ancestry[key] = status == 0
        return self._ancestry[key]

    def git(
        self,
        *arguments: str,
        cwd: Path | None = None,
        check: bool = True,
        timeout: float = _TIMEOUT,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        stdout: int | None = None,
        most: int | None = MAX_OUTPUT,
    ) -> Completed:
        """Run git in the work tree or in `cwd`, with the service's home and name and for `timeout` seconds.

        Raises CommandTimedOut, and with `check` CommandFailed on an exit status other than 0.
        """
        return run(
            [self.config.tool("git"), *arguments],
            timeout=timeout,
            cwd=cwd or self.work_tree,
            env={**environment_of(self.config), **(env or {})},
            stdin=stdin,
            stdout=stdout,
            most=most,
            check=check,
        )

    def folders(self) -> list[Path]:
        """The Git folders of all repositories of this provider: its own, the projects' and the nodes'."""
        git = self.config.git_dir
        found = [*sorted(git.glob("*.git")), *sorted(git.glob("nodes/*.git")), self.work_tree / ".git"]
        return [path for path in found if path.is_dir()]

    def collect(self, folder: Path, needed: Collection[str] = ()) -> None:
        """Pack a repository that has many loose objects or packs, and drop what nothing names any more.

        The `needed` commits stay, also when no branch has them any more.
        Under the lock, but for the provider's own: its plans are many and large, Git lets others work
        meanwhile, and no lock of Git's in it is taken for an abandoned one. The work tree, which has nothing
        of its own, is made anew instead. Raises HostenvError.
        """
        with self.locked():
            if not folder.is_dir():
                return
            for locks in (folder, folder / "objects" / "info"):
                remove_locks(locks, _STALE_LOCK_SECONDS if folder == self.bare else 0)
            for key, value in _COLLECTED_BY_US.items():
                # Repositories of earlier versions were made without.
                self.git(f"--git-dir={folder}", "config", key, value, cwd=folder)
            self._keep(folder, needed)
            if folder == self.work_tree / ".git":
                self._renew_work_tree()
            elif folder != self.bare:
                self._collect(folder)
        if folder == self.bare:
            self._collect(folder)

    def _keep(self, folder: Path, commits: Collection[str]) -> None:
        names = self.git("for-each-ref", "--format=%(refname)", _NEEDED, cwd=folder).text.split()
        wanted = {f"{_NEEDED}/{commit}": commit for commit in commits}
        for name in wanted.keys() - set(names):
            # One that is not there cannot be kept; who needs it fetches it again.
            self.git("update-ref", name, wanted[name], cwd=folder, check=False)
        for name in set(names) - wanted.keys():
            self.git("update-ref", "-d", name, cwd=folder)

    def _renew_work_tree(self) -> None:
        # A clone shares the files of the provider's repository: it is as quick after years.
        if int(self.git("count-objects").text.split()[0]) > _MAX_LOOSE:
            shutil.rmtree(self.work_tree)
            self._clone(self.bare)

    def _collect(self, folder: Path) -> None:
        settings = [word for key, value in _COLLECTION.items() for word in ("-c", f"{key}={value}")]
        command = (f"--git-dir={folder}", *settings, "gc", "--auto", "--quiet")
        self.git(*command, cwd=folder, timeout=_COLLECTION_TIMEOUT)

    def make_bare(self, path: Path) -> None:
        """Make a bare repository that nodes may read, and nobody may write, over HTTP (contract 4)."""
        # Whole or absent: without its settings it would show what it must hide.
        unfinished = path.with_name(f"{path.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        self._init_bare(unfinished)
        unfinished.rename(path)

    def _init_bare(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["--quiet", "--bare", "--shared=group", f"--initial-branch={BRANCH}"]
        self.git("init", *arguments, str(path), cwd=path.parent)
        for key, value in _BARE_CONFIGURATION.items():
            self.git("config", key, value, cwd=path)

    def _bare_git(self, *arguments: str, check: bool = True) -> Completed:
        return self.git(f"--git-dir={self.bare}", *arguments, cwd=self.config.data_dir, check=check)

    def _reset(self) -> None:
        self.git("checkout", "--quiet", "--force", "-B", BRANCH, f"refs/remotes/origin/{BRANCH}")
        self.git("clean", "--quiet", "-ffdx")

    def write_text(self, path: str, content: str) -> None:
        """Replace a file of the work tree."""
        target = self.work_tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.new")
        temporary.write_text(content, encoding="utf-8")
        os.replace(temporary, target)


def environment_of(config: Config) -> Mapping[str, str]:
    """The environment of git and nix: the service's home, its name on commits, and no questions."""
    return {
        "HOME": str(config.data_dir),
        "XDG_CONFIG_HOME": str(config.data_dir / ".config"),
        "XDG_CACHE_HOME": str(config.data_dir / ".cache"),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "hostenv-provider",
        "GIT_AUTHOR_EMAIL": "hostenv-provider@localhost",
        "GIT_COMMITTER_NAME": "hostenv-provider",
        "GIT_COMMITTER_EMAIL": "hostenv-provider@localhost",
        "LC_ALL": "C",
    }


def reference_stamps(bare: Path) -> Stamps:
    """What changes with the main branch of a bare repository, in whichever form Git keeps its references."""
    files = (f"refs/heads/{BRANCH}", "packed-refs", "reftable/tables.list")
    return tuple(stamp(bare / file) for file in files)


def remove_locks(folder: Path, age: float) -> None:
    """Remove what a killed git left in a repository's folder: locks of at least `age` seconds."""
    now = time.time()
    for path in (*folder.glob("*.lock"), *(folder / "refs").rglob("*.lock")):
        try:
            if now - path.stat().st_mtime >= age:
                path.unlink()
        except FileNotFoundError:
            continue
