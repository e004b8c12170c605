"""A project's mirror, which nodes read, and what is fetched into it from the project's Git host.

A host may be slow, silent or gone. Git itself fetches, within limits, so that an error is Git's own and
nothing older takes the place of what cannot be had (contract 5, sources).
"""

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from hostenv_core.errors import InvalidData
from hostenv_core.lines import one_line
from hostenv_core.processes import CommandTimedOut, Completed

from hostenv_provider.plan.lock_file import HEAD
from hostenv_provider.repository import remotes
from hostenv_provider.repository.remotes import FetchFailed
from hostenv_provider.repository.repository import Repository, remove_locks

_ANSWER_TIMEOUT = 30
_FETCH_TIMEOUT = 180
_MAX_MESSAGE = 500
_REFERENCE = re.compile(r"(?P<rev>[0-9a-f]{40,64})\t(?P<name>\S+)")
_REDIRECTED = re.compile(r"returned error: 30[1278]")
_SYMBOLIC = re.compile(r"ref: refs/heads/(?P<branch>\S+)\tHEAD")

_SETTINGS = {
    # A host must not lead Git to other places: no redirects, alternates, packs or bundles of other hosts.
    "http.followRedirects": "false",
    "fetch.uriProtocols": "",
    "transfer.bundleURI": "false",
    # A host that falls silent in the middle of an answer.
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
    # Git cleans up before it ends: a process left in the background would hold locks that look abandoned.
    "gc.autoDetach": "false",
    "maintenance.autoDetach": "false",
}
# This has the highest precedence of all attributes: the tree's bytes stay as they are, whatever the
# project's own attributes say.
_RAW_BYTES = "* -text -eol -filter -ident -working-tree-encoding -export-subst -export-ignore\n"


@dataclass(frozen=True)
class Head:
    """The commit of a reference at a Git host; of `HEAD` also the branch that it is, if the host says so."""

    rev: str
    branch: str | None


class Mirror:
    """The mirror of the project `key`, which the first fetch makes; used under the lock.

    Under `refs/heads` is what nodes may see (contract 8), under `refs/hostenv`, hidden from them, what was
    fetched. All fetches of one object together have 180 seconds.
    """

    def __init__(self, repository: Repository, key: str) -> None:
        self.path = repository.config.git_dir / f"{key}.git"
        self._repository = repository
        self._key = key
        self._deadline = time.monotonic() + _FETCH_TIMEOUT

    def head(self, url: str, reference: str) -> Head:
        """What the Git host says now of `reference`, a full name or `HEAD`.

        Raises FetchFailed, InvalidData if there is no such reference.
        """
        answer = self._remote(url, "ls-remote", "--symref", "--", _address(url), reference)
        branch = None
        for line in answer.text.splitlines():
            if found := _SYMBOLIC.fullmatch(line):
                branch = found["branch"]
            # Git also lists references that only have the same ending.
            if (found := _REFERENCE.fullmatch(line)) and found["name"] == reference:
                return Head(found["rev"], branch if reference == HEAD else None)
        what = "commit" if reference == HEAD else f"branch {reference.removeprefix('refs/heads/')}"
        raise InvalidData(f"{self._key}: there is no {what} at {url}: push it, or correct gitRef")

    def obtain(self, url: str, reference: str, rev: str) -> None:
        """Get the commit `rev`, which is or was in the history of `reference`. Raises FetchFailed."""
        self._make()
        if self.has(rev):
            return
        # Not by the branch's name: one that is gone, `release`, would be in the way of `release/2.0`.
        own = f"refs/hostenv/branches/{hashlib.sha256(reference.encode()).hexdigest()}"
        self._fetch(url, f"+{reference}:{own}")
        if not self.has(rev):
            # The branch has been rewritten since; most servers still give the commit when asked for its id.
            self._fetch(url, rev)

    def has(self, rev: str) -> bool:
        """Whether the commit is there."""
        return self.git("cat-file", "-e", f"{rev}^{{commit}}", check=False).returncode == 0

    def archive(self, rev: str, output: int) -> None:
        """Write a commit's files as a tar file to `output`, whose reader may end before."""
        command = ("archive", "--format=tar", rev)
        self._repository.git(*command, cwd=self.path, stdout=output, check=False)

    def show(self, user: str, rev: str) -> None:
        """Let nodes see a commit that is there as `refs/heads/<user>`."""
        self.git("update-ref", f"refs/heads/{user}", rev)

    def git(self, *arguments: str, check: bool = True, env: Mapping[str, str] | None = None) -> Completed:
        """Run git in the mirror. Raises CommandTimedOut, and with `check` CommandFailed."""
        return self._repository.git(*arguments, cwd=self.path, check=check, env=env)

    def _make(self) -> None:
        if not self.path.is_dir():
            self._repository.make_bare(self.path)
        remove_locks(self.path, 0)
        (self.path / "info").mkdir(exist_ok=True)
        (self.path / "info/attributes").write_text(_RAW_BYTES)

    def _fetch(self, url: str, what: str) -> None:
        options = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
        self._remote(url, "fetch", *options, "--", _address(url), what)

    def _remote(self, url: str, command: str, *arguments: str) -> Completed:
        left = max(1.0, self._deadline - time.monotonic())
        timeout = min(left, _ANSWER_TIMEOUT) if command == "ls-remote" else left
        route = remotes.route(self._repository.config, url)
        settings = {**_SETTINGS, **route.settings}
        try:
            answer = self._repository.git(
                *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
                command,
                *arguments,
                cwd=self.path if self.path.is_dir() else self.path.parent,
                check=False,
                timeout=timeout,
                env=route.environment,
            )
        except CommandTimedOut:
            raise FetchFailed(f"{url}: does not answer: `git {command}` took {timeout:.0f} s") from None
        if answer.returncode:
            words = one_line(answer.error_text[-_MAX_MESSAGE:], _MAX_MESSAGE) or "no message"
            moved = "; give the address to which it leads" if _REDIRECTED.search(words) else ""
            raise FetchFailed(f"{url}: `git {command}`: {words}{moved}")
        return answer


def _address(url: str) -> str:
    return url.removeprefix("git+")
