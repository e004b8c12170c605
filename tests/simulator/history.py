"""The provider repository as Git keeps it: commits with parents, and one branch that only moves forward."""

from collections.abc import Mapping
from dataclasses import dataclass

from hostenv_provider.plan import Plan, State
from hostenv_provider.schema import ProviderSettings


@dataclass(frozen=True)
class Tree:
    """What the planner reads and writes; `broken` stands for a commit that does not evaluate."""

    settings: ProviderSettings
    plan: Plan
    state: State
    locks: Mapping[str, int]
    broken: bool = False


@dataclass(frozen=True)
class Commit:
    """`ancestors` is a bit set of commit numbers, the commit's own included."""

    number: int
    tree: Tree
    ancestors: int

    @property
    def sha(self) -> str:
        return f"{self.number:040x}"


class History:
    """All commits ever made, pushed or not, and the remote's branch."""

    def __init__(self, tree: Tree) -> None:
        self._commits = [Commit(0, tree, 1)]
        self.head = self._commits[0]

    def commit(self, tree: Tree, *parents: Commit) -> Commit:
        """A new commit, in no branch yet."""
        number = len(self._commits)
        ancestors = 1 << number
        for parent in parents:
            ancestors |= parent.ancestors
        made = Commit(number, tree, ancestors)
        self._commits.append(made)
        return made

    def find(self, sha: str) -> Commit:
        return self._commits[int(sha, 16)]

    def push(self, commit: Commit) -> bool:
        """Move the branch; False if that would lose commits of it."""
        if not self.is_ancestor(self.head, commit):
            return False
        self.head = commit
        return True

    @staticmethod
    def is_ancestor(older: Commit, newer: Commit) -> bool:
        """Whether `older` is `newer` or in its history."""
        return bool(newer.ancestors >> older.number & 1)
