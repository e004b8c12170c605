"""What tenants do in their homes that keeps their own jobs from ending, until they mend it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hostenv_node.errors import OperationFailed, OperationTimedOut

from simulator.faults import Faults

ACTION_TIMEOUT = 900.0


@dataclass
class Tenants:
    """Whose homes are hostile, and how."""

    faults: Faults
    clock: Callable[[], float]
    hangs: set[str] = field(default_factory=set)
    """Environments in whose homes nothing ends before its time limit."""
    fails: set[str] = field(default_factory=set)
    """Environments in whose homes nothing can be tidied."""

    def spoil(self, user: str) -> None:
        """From now on the user's home is hostile, in one way or the other."""
        chosen = (self.hangs, self.fails)[self.faults.choose(2)]
        chosen.add(user)

    def mend(self) -> None:
        """No home is hostile any more."""
        self.hangs.clear()
        self.fails.clear()

    def is_hostile(self, user: str) -> bool:
        """Whether the user's jobs may take for ever."""
        return user in self.hangs or user in self.fails

    def work_in(self, user: str) -> None:
        """Something is done in a home. Raises OperationTimedOut."""
        if user not in self.hangs:
            return
        self.faults.log(f"{user} hangs")
        end = self.clock() + ACTION_TIMEOUT
        while user in self.hangs:
            if self.clock() >= end:
                raise OperationTimedOut("a program does not end")
            self.faults.leave()

    def tidy(self, user: str) -> None:
        """Something is undone or removed in a home. Raises OperationFailed."""
        if user in self.fails:
            raise OperationFailed("chmod 555")
