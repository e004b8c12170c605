"""The five actions and what undoes them, on copies of values, as the node's `jobs.operations` describes them.

Each is done in steps; between two of them the node may lose power or the action may fail.
"""

from collections.abc import Callable, Container, Mapping
from typing import Protocol

from hostenv_core.intents import Action
from hostenv_node.environment.entry import Entry
from hostenv_node.errors import OperationFailed, OperationTimedOut
from hostenv_node.jobs.operations import Context

from simulator.faults import Faults
from simulator.sites import Copy, Phase, Sites
from simulator.tenants import Tenants


class Reachable(Protocol):
    """Whether the backup server can be reached."""

    cut: bool


class SimulatedOperations:
    """Implements `hostenv_node.jobs.operations.Operations` for one node."""

    def __init__(
        self,
        node: str,
        sites: Sites,
        faults: Faults,
        tenants: Tenants,
        link: Reachable,
        began: Callable[[str], None],
    ) -> None:
        self._node = node
        self._sites = sites
        self._faults = faults
        self._tenants = tenants
        self._link = link
        self._began = began

    def backup(self, context: Context, action: Action) -> Mapping[str, object]:
        self._began(context.job)
        copy = self._copy(action.user)
        if copy.phase is Phase.ABSENT:
            raise OperationFailed(f"no environment {action.user} to back up")
        if not (copy.frozen_by and copy.job == context.job and copy.snapshot is not None):
            copy.frozen_by = copy.frozen_by or context.job
            self._step(action.user)
            self._reach_server()
            snapshot = f"{len(self._sites.snapshots):016x}"
            self._sites.snapshots[snapshot] = copy.rows
            self._step(action.user)
            copy.job, copy.snapshot = context.job, snapshot
            self._step(action.user)
        return {
            "user": action.user,
            "sourceNode": self._node,
            "snapshots": dict.fromkeys(action.migrations, copy.snapshot),
        }

    def restore(self, context: Context, action: Action, entry: Entry, snapshots: Mapping[str, str]) -> None:
        self._began(context.job)
        snapshot = snapshots[action.migrations[0]]
        copy = self._begin(context, action.user)
        if copy.restored != (context.job, snapshot):
            self._reach_server()
            self._step(action.user)
            copy.rows = self._sites.snapshots[snapshot]
            copy.restored = context.job, snapshot
            self._step(action.user)
        copy.release = _release(entry)

    def activate(self, context: Context, action: Action, entry: Entry) -> None:
        self._began(context.job)
        copy = self._copy(action.user)
        if copy.job == context.job and copy.phase is Phase.ACTIVE:
            return
        copy = self._begin(context, action.user)
        copy.release = _release(entry)
        self._step(action.user)
        copy.phase = Phase.ACTIVE
        self._check(action.user)
        self._step(action.user)

    def reload(self, context: Context, action: Action, entry: Entry) -> None:
        self._began(context.job)
        copy = self._copy(action.user)
        if copy.phase is not Phase.ACTIVE:
            raise OperationFailed(f"{action.user} is not active")
        if copy.job != context.job or copy.previous is None:
            copy.job, copy.previous, copy.snapshot = context.job, copy.release, None
        self._step(action.user)
        copy.release = _release(entry)
        self._step(action.user)

    def deactivate(self, context: Context, action: Action) -> None:
        self._began(context.job)
        self._take_down(context, action.user)

    def freeze(self, context: Context, user: str) -> None:
        self._step(user)
        copy = self._copy(user)
        if copy.phase is not Phase.ACTIVE or copy.frozen_by not in (None, context.job):
            return
        copy.frozen_by = context.job
        self._step(user)
        if copy.job != context.job:
            copy.job, copy.snapshot = context.job, None

    def thaw(self, context: Context, user: str) -> None:
        self._tenants.tidy(user)
        self._step(user)
        copy = self._copy(user)
        if copy.frozen_by == context.job:
            copy.frozen_by = None
            self._check(user)
        self._step(user)

    def keep(self, context: Context, user: str) -> None:
        self._tenants.tidy(user)
        self._step(user)
        copy = self._copy(user)
        if copy.job == context.job:
            copy.previous = None
        self._step(user)

    def withdraw(self, context: Context, user: str) -> None:
        self._tenants.tidy(user)
        self._take_down(context, user)

    def revert(self, context: Context, user: str) -> None:
        self._tenants.tidy(user)
        self._step(user)
        copy = self._copy(user)
        if copy.job == context.job and copy.previous is not None:
            copy.release, copy.previous = copy.previous, None
        self._step(user)

    def left_behind(self, user: str) -> str | None: ...

    def prune(
        self,
        now: float,  # noqa: ARG002
        busy: Container[str],  # noqa: ARG002
        is_wanted: Callable[[], bool],  # noqa: ARG002
    ) -> list[str]:
        return []

    def boot(self) -> None: ...

    def _begin(self, context: Context, user: str) -> Copy:
        copy = self._copy(user)
        copy.frozen_by = context.job
        if copy.job != context.job:
            copy.snapshot = None
        copy.phase, copy.job, copy.previous = Phase.RESTORED, context.job, None
        self._step(user)
        return copy

    def _take_down(self, context: Context, user: str) -> None:
        copy = self._copy(user)
        if copy.phase is Phase.ABSENT:
            return
        self._step(user, "removal")
        copy.phase, copy.job, copy.previous = Phase.INACTIVE, context.job, None
        self._step(user, "removal")
        copy.frozen_by = None
        self._check(user)

    def _copy(self, user: str) -> Copy:
        return self._sites.copy(self._node, user)

    def _check(self, user: str) -> None:
        self._sites.check(user)

    def _reach_server(self) -> None:
        if self._link.cut:
            raise OperationFailed("the backup server cannot be reached")

    def _step(self, user: str, fault: str = "operation") -> None:
        self._faults.point()
        self._tenants.work_in(user)
        if self._faults.happens(fault):
            if self._faults.happens("time-out"):
                raise OperationTimedOut("took too long")
            raise OperationFailed("disk full")


def _release(entry: Entry) -> str:
    source = entry["repo"]
    assert isinstance(source, Mapping)
    return str(source["rev"])
