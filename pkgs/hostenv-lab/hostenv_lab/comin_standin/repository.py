"""comin's copy of the remotes, and which of their commits is to be deployed."""

from __future__ import annotations

import logging
from pathlib import Path

from .commands import credentials, git
from .config import Json, Remote
from .errors import CominError
from .store import now

log = logging.getLogger("comin")


class Repository:
    """The bare repository in the state directory; `status` is comin's own `repository_status`."""

    def __init__(self, path: Path, remotes: tuple[Remote, ...], main_commit: str) -> None:
        self.path = path
        self._remotes = remotes
        if not (path / "HEAD").exists():
            path.mkdir(parents=True, exist_ok=True)
            git(path, "init", "--quiet", "--bare", "--initial-branch=main")
        for remote in remotes:
            # As comin does: it keeps what it fetched from another address, and the pin too.
            git(path, "config", f"remote.{remote.name}.url", remote.url)
        self.status: Json = {
            "selected_commit_id": "",
            "selected_commit_msg": "",
            "selected_remote_name": "",
            "selected_branch_name": "",
            "selected_branch_is_testing": False,
            "main_commit_id": main_commit,
            "main_remote_name": "",
            "main_branch_name": "",
            "remotes": [self._remote_status(remote) for remote in remotes],
            "error_msg": "",
        }

    @staticmethod
    def _remote_status(remote: Remote) -> Json:
        main = {"name": remote.branch, "commit_id": "", "commit_msg": "", "error_msg": "", "on_top_of": ""}
        return {
            "name": remote.name,
            "url": remote.url,
            "fetch_error_msg": "",
            "main": main,
            "fetched_at": None,
            "fetched": False,
        }

    def fetch(self, names: set[str]) -> None:
        """Fetches the named remotes; an error stays in the status until a later fetch succeeds."""
        for remote, status in zip(self._remotes, self.status["remotes"], strict=True):
            if remote.name not in names:
                continue
            refspec = f"+refs/heads/*:refs/remotes/{remote.name}/*"
            try:
                git(
                    self.path,
                    "fetch",
                    "--quiet",
                    "--no-tags",
                    remote.url,
                    refspec,
                    env=credentials(remote),
                    limit=remote.timeout,
                )
            except CominError as error:
                status["fetch_error_msg"] = f"'git fetch {remote.name}' fails: '{error}'"
                log.error("Pull from remote '%s' failed: %s", remote.name, error)
            else:
                status.update(fetch_error_msg="", fetched=True)
            status["fetched_at"] = now()

    def select(self) -> None:
        """Selects the first remote's head that is new, else the first head; a rewritten branch is refused."""
        selected: tuple[Remote, str] | None = None
        for remote, status in zip(self._remotes, self.status["remotes"], strict=True):
            if status["fetch_error_msg"]:
                continue
            main, pinned = status["main"], self.status["main_commit_id"]
            try:
                head = self._head(remote, pinned)
            except CominError as error:
                main["error_msg"] = str(error)
                continue
            message = git(self.path, "show", "--no-patch", "--format=%B", head)
            main.update(commit_id=head, commit_msg=message, error_msg="", on_top_of=pinned)
            if selected is None:
                selected = remote, head
            if head != pinned:
                selected = remote, head
                self.status.update(
                    main_commit_id=head, main_remote_name=remote.name, main_branch_name=remote.branch
                )
                break
        if selected is not None:
            remote, head = selected
            self.status.update(
                selected_commit_id=head,
                selected_commit_msg=git(self.path, "show", "--no-patch", "--format=%B", head),
                selected_remote_name=remote.name,
                selected_branch_name=remote.branch,
            )

    def _head(self, remote: Remote, pinned: str) -> str:
        ref = f"refs/remotes/{remote.name}/{remote.branch}"
        head = git(self.path, "for-each-ref", "--format=%(objectname)", ref).strip()
        if not head:
            raise CominError(f"the branch '{remote.name}/{remote.branch}' doesn't exist")
        if pinned and not self._is_on_top(head, pinned):
            raise CominError(
                f"this branch has been hard reset: its head '{head}' is not on top of '{pinned}'"
            )
        return head

    def _is_on_top(self, head: str, base: str) -> bool:
        try:
            return git(self.path, "merge-base", base, head).strip() == base
        except CominError:
            return False
