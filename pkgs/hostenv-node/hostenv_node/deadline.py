"""The moment at which an operation must have ended."""

import time
from dataclasses import dataclass

from hostenv_node.errors import OperationTimedOut


@dataclass(frozen=True)
class Deadline:
    """The moment (`time.monotonic`) at which an operation must have ended."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """`seconds` from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self, at_most: float = float("inf")) -> float:
        """Seconds left, but no more than `at_most`; never 0 or less.

        Raises OperationTimedOut once the deadline has passed.
        """
        left = self.at - time.monotonic()
        if left <= 0:
            raise OperationTimedOut("the time limit for the action (actionTimeout) has passed")
        return min(left, at_most)
