"""The actions and what undoes them, on copies of values, as the node's `jobs.operations` describes them.

Each is done in steps; between two of them the node may lose power or the action may fail.
"""

from collections.abc import Callable, Container, Mapping
from typing import Protocol

from hostenv_core.intents import Action
from hostenv_core.states import ENDED
from hostenv_node.environment.entry import Entry
from hostenv_node.errors import OperationFailed, OperationTimedOut
from hostenv_node.jobs.job_status import JobSnapshot
from hostenv_node.jobs.operations import Context

from simulator.faults import Faults
from simulator.sites import Broken, Changes, Copy, Phase, Rounds, Sites
from simulator.tenants import Tenants


class Reachable(Protocol):
    """Whether the backup server can be reached."""

    cut: bool


class Transfers(Protocol):
    """What of the provider's API a live move needs."""

    def job(self, job_id: str) -> JobSnapshot: ...

    def send_part(self, job_id: str, user: str, name: str, part: Changes) -> None: ...

    def fetch_part(self, job_id: str, user: str, name: str, *, wait: bool) -> Changes | None: ...


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
        self.transfers: Transfers

    def backup(self, context: Context, action: Action) -> Mapping[str, object]:
        self._began(context.job)
        copy = self._copy(action.user)
        if copy.phase is Phase.ABSENT:
            raise OperationFailed(f"no environment {action.user} to back up")
        safe = action.live or copy.frozen_by
        if not (safe and copy.job == context.job and copy.snapshot is not None):
            if action.live:
                # Whatever is written from here on is in the first round, if in the base or not.
                copy.rounds = Rounds(base=copy.rows)
            else:
                copy.frozen_by = copy.frozen_by or context.job
            self._step(action.user)
            self._reach_server()
            snapshot = f"{len(self._sites.snapshots):016x}"
            self._sites.snapshots[snapshot] = copy.rows
            self._step(action.user)
            copy.job, copy.snapshot = context.job, snapshot
            self._faults.log(f"{self._node}: {action.user} backed up {'live' if action.live else 'frozen'}")
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
            copy.restored, copy.rounds = (context.job, snapshot), Rounds()
            self._step(action.user)
        copy.release = _release(entry)

    def sync(self, context: Context, action: Action) -> None:
        self._began(context.job)
        copy = self._of_job(context, action)
        if action.from_node == self._node:
            self._send_rounds(context, action.user, copy)
        else:
            self._take_rounds(context, action, copy)

    def handover(self, context: Context, action: Action) -> None:
        self._began(context.job)
        copy = self._of_job(context, action)
        self._hold(context, copy)
        self._step(action.user, "round")
        rounds = copy.rounds
        if rounds.rest is None:
            rounds.rest = self._changes(action.user, copy)
        self._send(context, action.user, f"rest-{len(rounds.deltas) + 1}", rounds.rest)

    def activate(self, context: Context, action: Action, entry: Entry) -> None:
        self._began(context.job)
        copy = self._copy(action.user)
        if copy.job == context.job and copy.phase is Phase.ACTIVE:
            return
        copy = self._begin(context, action.user)
        if action.live:
            self._take_rest(context, action.user, copy)
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

    def _send_rounds(self, context: Context, user: str, copy: Copy) -> None:
        """Until a round is short; one that was cut short is sent again."""
        deltas = copy.rounds.deltas
        number = max(1, len(deltas))
        while True:
            if copy.frozen_by == context.job:
                raise Broken(f"{user} is frozen by {context.job} long before its hand-over")
            if len(deltas) < number:
                deltas.append(self._changes(user, copy))
            self._send(context, user, f"delta-{number}", deltas[number - 1])
            while self.transfers.fetch_part(context.job, user, f"applied-{number}", wait=True) is None:
                self._look(context)
            context.tell(f"round {number}")
            if self._faults.choose(2):
                return
            number += 1

    def _changes(self, user: str, copy: Copy) -> Changes:
        """What was written since the last archive, which is made once."""
        if copy.phase is not Phase.ACTIVE:
            raise OperationFailed(f"the database of {user} does not run")
        rounds = copy.rounds
        before = rounds.deltas[-1].all_rows if rounds.deltas else rounds.base
        changes = Changes(copy.rows & ~before, copy.rows)
        self._step(user, "round")
        return changes

    def _send(self, context: Context, user: str, name: str, part: Changes) -> None:
        self._step(user, "round")
        self.transfers.send_part(context.job, user, name, part)
        self._step(user, "round")

    def _take_rounds(self, context: Context, action: Action, copy: Copy) -> None:
        """Until the source has sent its last; what was taken in before a crash is said again."""
        user, taken = action.user, copy.rounds.taken
        if taken:
            self._say_taken(context, user, len(taken))
        while True:
            sent_all = self._has_sent_all(context, action)
            name = f"delta-{len(taken) + 1}"
            changes = self.transfers.fetch_part(context.job, user, name, wait=not sent_all)
            if changes is not None:
                self._take_in(user, copy, name, changes)
                self._say_taken(context, user, len(taken))
            elif sent_all:
                return

    def _has_sent_all(self, context: Context, action: Action) -> bool:
        return self._look(context).status(action.from_node, "sync", action.user) == "success"

    def _take_rest(self, context: Context, user: str, copy: Copy) -> None:
        """The last changes, which are there once the source has handed over."""
        taken = copy.rounds.taken
        if taken and taken[-1].startswith("rest"):
            return
        name = f"rest-{len(taken) + 1}"
        changes = self.transfers.fetch_part(context.job, user, name, wait=False)
        if changes is None:
            raise OperationFailed(f"{user} is not handed over: there is no {name}")
        self._take_in(user, copy, name, changes)

    def _take_in(self, user: str, copy: Copy, name: str, changes: Changes) -> None:
        self._step(user, "round")
        copy.rows |= changes.rows
        self._step(user, "round")
        if copy.rows != changes.all_rows:
            raise OperationFailed(f"{user} is not as on its source after {name}")
        copy.rounds.taken.append(name)
        self._step(user, "round")

    def _say_taken(self, context: Context, user: str, number: int) -> None:
        self.transfers.send_part(context.job, user, f"applied-{number}", Changes(0, 0))

    def _look(self, context: Context) -> JobSnapshot:
        """Nobody sends anything any more once the job has ended."""
        job = self.transfers.job(context.job)
        if job.state in ENDED:
            self._faults.log(f"{self._node}: no more rounds of {context.job}, which is {job.state}")
            raise OperationFailed(f"the job is {job.state}")
        return job

    def _hold(self, context: Context, copy: Copy) -> None:
        """From here on nothing is written."""
        copy.frozen_by = copy.frozen_by or context.job

    def _of_job(self, context: Context, action: Action) -> Copy:
        copy = self._copy(action.user)
        if copy.job != context.job:
            raise OperationFailed(f"{self._node} has begun no move of {action.user} for this job")
        return copy

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
