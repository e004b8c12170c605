"""Names that become accounts, paths and units on this node, checked here whoever sent them (contract 2)."""

import re
from typing import TypeGuard

FIRST_UID, LAST_UID = 1002, 59999
"""The uids of the plan; above them begin systemd's own, `nobody` and what a container may not have."""

_ENVIRONMENT_USER = re.compile(r"[a-z][a-z0-9-]{0,10}-[a-z0-9-]{1,11}-[0-9a-f]{7}")
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")


def is_environment_user(value: object) -> TypeGuard[str]:
    """Whether `value` has the form `<project>-<environment>-<hash>`: no account of the system has it."""
    return isinstance(value, str) and _ENVIRONMENT_USER.fullmatch(value) is not None


def is_uid(value: object) -> TypeGuard[int]:
    """Whether `value` is a uid that the plan may give to an environment."""
    return isinstance(value, int) and not isinstance(value, bool) and FIRST_UID <= value <= LAST_UID


def is_job(value: object) -> TypeGuard[str]:
    """Whether `value` can be a job's id, which names files and folders."""
    return isinstance(value, str) and _JOB.fullmatch(value) is not None
