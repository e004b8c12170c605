"""The provider repository: its bare copy that nodes and operators use, and the work tree in which commits are made."""

from collections.abc import Iterator
from contextlib import contextmanager

from hostenv_provider.config import Config
from hostenv_provider.errors import HostenvError
from hostenv_provider.plan import Plan, State
from hostenv_provider.schema import ProviderSettings


class NotBootstrapped(HostenvError):
    """There is no provider repository yet: `hostenv-provider init` makes it."""


class PushRejected(HostenvError):
    """Somebody else pushed in the meantime: start again from `Repository.sync`."""


class Repository:
    """Effects on the provider repository.

    All methods but `published_plan`, `contains` and `is_ancestor` need the lock.
    """

    def __init__(self, config: Config) -> None:
        self.config = config

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock that worker and commands share; waits for it."""
        raise NotImplementedError

    @contextmanager
    def changing(self) -> Iterator[str]:
        """Hold the lock on a synchronised work tree; an exception takes back what was not pushed. Gives the head."""
        raise NotImplementedError

    def sync(self) -> str:
        """Fetch, reset to the remote's head, clean. Returns that head's SHA.

        Raises NotBootstrapped or CommandFailed.
        """
        raise NotImplementedError

    def read_settings(self) -> ProviderSettings:
        """`provider.json` of the work tree. Raises InvalidData."""
        raise NotImplementedError

    def read_plan(self) -> Plan:
        """`generated/plan.json` of the work tree. Raises InvalidData."""
        raise NotImplementedError

    def read_state(self) -> State:
        """`generated/state.json` of the work tree. Raises InvalidData."""
        raise NotImplementedError

    def published_plan(self) -> Plan:
        """The plan that the nodes can see, read without the lock.

        Raises NotBootstrapped if there is no repository, InvalidData if the plan cannot be read.
        """
        raise NotImplementedError

    def set_node(self, user: str, node: str) -> None:
        """Place an environment on `node` in `provider.json`. Raises InvalidData if there is no such node."""
        raise NotImplementedError

    def write_generated(self, plan: Plan, state: State) -> None:
        """Write `generated/` anew."""
        raise NotImplementedError

    def changed(self) -> bool:
        """Whether the work tree differs from its commit."""
        raise NotImplementedError

    def commit(self, message: str, allow_empty: bool = False) -> str:
        """Commit everything. Returns the SHA."""
        raise NotImplementedError

    def push(self, sha: str) -> None:
        """Push a commit to the remote's main branch; repeated, it does nothing. Raises PushRejected or CommandFailed."""
        raise NotImplementedError

    def contains(self, sha: str) -> bool:
        """Whether the remote's main branch has `sha` in its history."""
        raise NotImplementedError

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether `older` is `newer` or in its history; false if the remote does not know one of them. Cached."""
        raise NotImplementedError
