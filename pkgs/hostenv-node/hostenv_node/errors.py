"""How an operation fails; the message goes to the job."""

from hostenv_core.errors import HostenvError


class OperationFailed(HostenvError):
    """The operation ended without its result."""


class OperationTimedOut(OperationFailed):
    """The operation did not end before its deadline."""
