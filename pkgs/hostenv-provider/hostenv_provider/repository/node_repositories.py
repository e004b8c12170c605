"""The nodes' own repositories, which only the service's worker writes, under the lock of the work tree."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.processes import Completed

from hostenv_provider.plan.node_tree import Entry, ProviderTree, wanted_contents
from hostenv_provider.repository.repository import BRANCH, Repository, Stamps, reference_stamps, remove_locks
from hostenv_provider.rules.stored import NodeCommit

_MAIN = f"refs/heads/{BRANCH}"
_NEXT = "refs/hostenv/next"
"""Hidden from the nodes: the commit that was made last, whether or not its turn has come."""

_NOTHING = "0" * 40


class NodeRepositories:
    """Effects on `git/nodes/`; `is_ancestor` needs no lock."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._folder = repository.config.node_git_dir
        self._known: dict[str, tuple[str, Mapping[str, Entry]]] = {}
        self._heads: dict[str, tuple[Stamps, str | None]] = {}
        self._provider: ProviderTree | None = None

    def path(self, node: str) -> Path:
        """The node's bare repository."""
        return self._folder / f"{node}.git"

    def exist(self) -> bool:
        """Whether this provider has ever had such repositories."""
        return self._folder.is_dir()

    def begin(self) -> None:
        """Record that it has, even if none is made yet."""
        self._folder.mkdir(parents=True, exist_ok=True)

    def nodes(self, provider_commit: str) -> tuple[str, ...]:
        """The nodes that a commit of the work tree is for. Raises InvalidData or CommandFailed."""
        return self._tree(provider_commit).nodes

    def slice(self, node: str, provider_commit: str) -> str:
        """What the node is told at a commit of the work tree. Raises InvalidData or CommandFailed."""
        return self._tree(provider_commit).slice_of(node)

    def head(self, node: str) -> str | None:
        """The commit that the node sees; None before the first. Raises HostenvError."""
        # A push asks about every node: no process is started while the files of the reference are the same.
        stamps = reference_stamps(self.path(node))
        known = self._heads.get(node)
        if known is None or known[0] != stamps:
            answer = ""
            if self.path(node).is_dir():
                answer = self._git(node, "for-each-ref", "--format=%(objectname)", _MAIN).text.strip()
            known = self._heads[node] = stamps, answer or None
        return known[1]

    def differs(self, node: str, provider_commit: str) -> bool:
        """Whether the node sees other files than those of a commit of the work tree. Raises HostenvError."""
        head = self.head(node)
        return head is None or self._seen(node, head) != self._tree(provider_commit).of_node(node).entries

    def commit(self, node: str, provider_commit: str) -> NodeCommit:
        """Make a commit of the node's files on top of what the node sees, which it does not see yet.

        Raises HostenvError.
        """
        tree, head = self._tree(provider_commit).of_node(node), self.head(node)
        if not self.path(node).is_dir():
            self._repository.make_bare(self.path(node))
        remove_locks(self.path(node), 0)
        before = {} if head is None else self._seen(node, head)
        changed = {path: entry for path, entry in tree.entries.items() if before.get(path) != entry}
        copied = [
            entry.blob for path, entry in changed.items() if path not in tree.made and entry.mode != "160000"
        ]
        contents = self._blobs(copied)
        stream = io.BytesIO()
        stream.write(f"feature done\nreset {_NEXT}\n\ncommit {_NEXT}\nmark :1\n".encode())
        stream.write(b"committer hostenv-provider <hostenv-provider@localhost> now\n")
        message = f"What {node} hosts\n\nMade of {provider_commit} of provider.git\n".encode()
        stream.write(b"data %d\n%s\n" % (len(message), message))
        if head is not None:
            stream.write(f"from {head}\n".encode())
        for path in before:
            if path not in tree.entries:
                stream.write(f"D {_quoted(path)}\n".encode("utf-8", "surrogateescape"))
        for path, entry in changed.items():
            if entry.mode == "160000":
                stream.write(f"M {entry.mode} {entry.blob} {_quoted(path)}\n".encode())
                continue
            stream.write(f"M {entry.mode} inline {_quoted(path)}\n".encode("utf-8", "surrogateescape"))
            content = tree.made[path] if path in tree.made else contents[entry.blob]
            stream.write(b"data %d\n%s\n" % (len(content), content))
        stream.write(b"\nget-mark :1\ndone\n")
        options = ("--quiet", "--force", "--date-format=now")
        answer = self._git(node, "fast-import", *options, stdin=stream.getvalue())
        return NodeCommit(answer.text.strip(), tree.slice)

    def advance(self, node: str, commit: str) -> bool:
        """Let the node see a commit that `commit` made; one that it sees already needs nothing.

        False if that is not on top of what the node sees, or is gone. Raises CommandFailed.
        """
        head = self.head(node)
        if head is not None and self.is_ancestor(node, commit, head):
            return True
        if not self._has(node, commit) or (head is not None and not self.is_ancestor(node, head, commit)):
            return False
        remove_locks(self.path(node), 0)
        self._git(node, "update-ref", _MAIN, commit, head or _NOTHING)
        return True

    def is_ancestor(self, node: str, older: str, newer: str) -> bool:
        """Whether `older` is `newer` or in its history; false if the node's repository lacks one of them."""
        return self._repository.is_ancestor_in(self.path(node), older, newer)

    def _tree(self, commit: str) -> ProviderTree:
        if self._provider is None or self._provider.commit != commit:
            entries = self._entries(self._repository.work_tree, commit)
            wanted = wanted_contents(entries)
            contents = self._blobs(list(wanted.values()))
            self._provider = ProviderTree(
                commit, entries, {path: contents[blob] for path, blob in wanted.items()}
            )
        return self._provider

    def _has(self, node: str, commit: str) -> bool:
        path = self.path(node)
        return (
            path.is_dir()
            and self._git(node, "cat-file", "-e", f"{commit}^{{commit}}", check=False).returncode == 0
        )

    def _seen(self, node: str, head: str) -> Mapping[str, Entry]:
        known = self._known.get(node)
        if known is None or known[0] != head:
            known = self._known[node] = head, self._entries(self.path(node), head)
        return known[1]

    def _git(self, node: str, *arguments: str, check: bool = True, stdin: bytes = b"") -> Completed:
        try:
            return self._repository.git(
                f"--git-dir={self.path(node)}", *arguments, cwd=self._folder, check=check, stdin=stdin
            )
        except HostenvError as error:
            raise HostenvError(f"{self.path(node)}: {error}") from error

    def _entries(self, folder: Path, commit: str) -> dict[str, Entry]:
        listing = self._read(folder, "ls-tree", "-r", "-z", "--full-tree", commit)
        entries = {}
        for line in listing.split(b"\0")[:-1]:
            facts, _, path = line.partition(b"\t")
            mode, _, blob = facts.decode().split(" ")
            entries[path.decode("utf-8", "surrogateescape")] = Entry(mode, blob)
        return entries

    def _blobs(self, ids: list[str]) -> dict[str, bytes]:
        """Contents of the provider repository, by id."""
        if not ids:
            return {}
        wanted = "".join(f"{each}\n" for each in ids).encode()
        return dict(_batch(self._read(self._repository.work_tree, "cat-file", "--batch", stdin=wanted)))

    def _read(self, folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
        return self._repository.git(*arguments, cwd=folder, stdin=stdin, most=None).stdout


def _batch(found: bytes) -> Iterator[tuple[str, bytes]]:
    """What `git cat-file --batch` says: `<id> <type> <bytes>`, a line end, the content and a line end."""
    position = 0
    while position < len(found):
        end = found.index(b"\n", position)
        blob, kind, *size = found[position:end].decode().split(" ")
        if kind != "blob":
            raise HostenvError(f"the provider repository has no content {blob} ({kind}): restore it")
        position = end + 1 + int(size[0])
        yield blob, found[end + 1 : position]
        position += 1


def _quoted(path: str) -> str:
    """A path as `git fast-import` reads it."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
