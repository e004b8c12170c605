"""Repositories as Git keeps them: commits with parents, and one branch that only moves forward."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from hostenv_provider.plan.generated import slice_hash
from hostenv_provider.plan.plan import Plan, State
from hostenv_provider.plan.settings import ProviderSettings


@dataclass(frozen=True)
class Tree:
    """What the planner reads and writes; `broken` stands for a commit that does not evaluate."""

    settings: ProviderSettings
    plan: Plan
    state: State
    locks: Mapping[str, int]
    broken: bool = False

    @cached_property
    def slices(self) -> Mapping[str, str]:
        """What each node is told, as text."""
        return {node: json.dumps(self.plan.slice(node), sort_keys=True) for node in self.settings.nodes}

    @cached_property
    def of_nodes(self) -> Mapping[str, "NodeTree"]:
        """What each node's own repository holds of it."""
        return {node: NodeTree(slice_hash(text), self.broken) for node, text in self.slices.items()}


@dataclass(frozen=True)
class NodeTree:
    """The hash of a node's slice, and what of the operators' files matters here."""

    slice_hash: str
    broken: bool


T = TypeVar("T")


@dataclass(frozen=True)
class Commit(Generic[T]):
    """`ancestors` is a bit set of commit numbers, the commit's own included."""

    repository: int
    number: int
    tree: T
    ancestors: int

    @property
    def sha(self) -> str:
        return f"{self.repository:08x}{self.number:032x}"


class History(Generic[T]):
    """All commits ever made, pushed or not, and the branch that others see; `repository` is in each SHA."""

    def __init__(self, tree: T, repository: int = 0) -> None:
        self._commits = [Commit(repository, 0, tree, 1)]
        self._repository = repository
        self.head = self._commits[0]

    def commit(self, tree: T, *parents: Commit[T]) -> Commit[T]:
        """A new commit, in no branch yet."""
        number = len(self._commits)
        ancestors = 1 << number
        for parent in parents:
            ancestors |= parent.ancestors
        made = Commit(self._repository, number, tree, ancestors)
        self._commits.append(made)
        return made

    def find(self, sha: str) -> Commit[T]:
        assert int(sha[:8], 16) == self._repository
        return self._commits[int(sha[8:], 16)]

    def push(self, commit: Commit[T]) -> bool:
        """Move the branch; False if that would lose commits of it."""
        if not self.is_ancestor(self.head, commit):
            return False
        self.head = commit
        return True

    @staticmethod
    def is_ancestor(older: Commit[T], newer: Commit[T]) -> bool:
        """Whether `older` is `newer` or in its history."""
        return bool(newer.ancestors >> older.number & 1)
