"""What the activation asks of the environments' runtime.

Every operation may be repeated for the same job, also after a crash in its middle, and then has the same end
(contract 8: the node resumes at the first unfinished action).
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hostenv_core.intents import Action

from hostenv_node.deadline import Deadline
from hostenv_node.environment.entry import Entry


@dataclass(frozen=True)
class Context:
    """For which job an operation runs, and until when.

    What it tells, people see in the job at once, and also after it has succeeded.
    """

    job: str
    deadline: Deadline
    tell: Callable[[str], None] = lambda _message: None


class Operations(Protocol):
    """The actions, what undoes them, and upkeep.

    All raise OperationFailed or OperationTimedOut. Only `jobs.api.Unreachable` passes through them: an
    operation that the provider's absence interrupts has not failed and is repeated.
    """

    def backup(self, context: Context, action: Action) -> Mapping[str, object]:
        """Back up the environment, live or frozen; tells before what this move changes or leaves behind.

        Returns the payload of contract 8: `{user, sourceNode, snapshots: {migrationKey: snapshotId}}`.
        """

    def restore(self, context: Context, action: Action, entry: Entry, snapshots: Mapping[str, str]) -> None:
        """Fetch the code and restore exactly these snapshots (by migration key), existing data set aside."""

    def sync(self, context: Context, action: Action) -> None:
        """On the source send what changes on the live site, on the target take it in and compare the two.

        Returns on the source once a round of that is short, on the target once there is nothing more.
        """

    def handover(self, context: Context, action: Action) -> None:
        """Freeze the environment and send the last changes."""

    def activate(self, context: Context, action: Action, entry: Entry) -> None:
        """Start the environment from `entry` and serve it, frozen (reads only), until `thaw`."""

    def reload(self, context: Context, action: Action, entry: Entry) -> None:
        """Activate the new release; the old one stays ready for `revert` until `keep`."""

    def deactivate(self, context: Context, action: Action) -> None:
        """Withdraw the vhosts, stop and disable the units and check it; data stay."""

    def freeze(self, context: Context, user: str) -> None:
        """Let no more writes through, unless another job has frozen the environment already."""

    def thaw(self, context: Context, user: str) -> None:
        """Let writes through again."""

    def keep(self, context: Context, user: str) -> None:
        """A reload was verified: the release before it is no longer needed."""

    def withdraw(self, context: Context, user: str) -> None:
        """Undo `restore` and `activate` of this job before its commit point."""

    def revert(self, context: Context, user: str) -> None:
        """Undo `reload` of this job: the release before it serves again."""

    def left_behind(self, user: str) -> str | None:
        """What is to be deleted and cannot be, and why, in one line; `prune` tries it again."""

    def prune(self, now: float, busy: Container[str], is_wanted: Callable[[], bool]) -> Sequence[str]:
        """Delete what was set aside longer ago than the retention; `now` in seconds since the epoch.

        The environments of `busy` users are left alone, because jobs are open for them. It stops early when
        the activation `is_wanted` for something else, because one home may take a minute; the rest is done
        the next time.

        Returns a line about each environment where it tried and could not. Raises nothing: no home may stop
        a node's work.
        """

    def boot(self) -> None:
        """Recreate what a reboot loses (`/run`) and the front door's files from the records."""
