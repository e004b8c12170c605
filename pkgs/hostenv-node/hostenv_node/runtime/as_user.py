"""How root lets an environment's user do something; root itself opens no path below a home (contract 8).

All of it runs in `hostenv-step-<uid>.service`, a unit in that user's own slice: what it uses counts as the
tenant's, and all that it started ends with it. What such a unit may do is in
`systemd/hostenv-step-.service.d`.
"""

import json
import pwd
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hostenv_core.lines import tail
from hostenv_core.processes import CommandFailed, Completed, pipe, run

from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment.layout import PATH, Layout
from hostenv_node.environment.request import Request
from hostenv_node.environment.steps import Step
from hostenv_node.errors import OperationFailed, OperationTimedOut
from hostenv_node.runtime.leftovers import Leftovers

_ANSWER_SECONDS = 5.0
_STOP_SECONDS = 60.0
# Matters only if nobody is left to stop the unit at its time limit.
_OVERTIME_SECONDS = 30.0
_MESSAGE_CHARACTERS = 4000
# Nothing of the user's own joins the part that root starts: neither its usercustomize nor its folders.
_ISOLATED = {"PYTHONNOUSERSITE": "1", "PYTHONSAFEPATH": "1"}


def stop_steps(config: Config, users: Collection[str]) -> None:
    """End all that root has asked for and that still runs as one of these users.

    Raises CommandFailed when systemd cannot be asked.
    """
    for user in users:
        with suppress(KeyError):
            _stop(config, pwd.getpwnam(user).pw_uid)


def layout_of(config: Config, user: str, uid: int, codebase: str) -> Layout:
    """Raises OperationFailed when the account is missing or not the plan's."""
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise OperationFailed(f"there is no account {user} on {config.node}; the switch makes it") from None
    if account.pw_uid != uid:
        raise OperationFailed(f"account {user} has uid {account.pw_uid}, not {uid}; it is not the plan's")
    return Layout(user, uid, codebase, Path(account.pw_dir), config.freeze_dir / user)


def open_home(layout: Layout) -> None:
    """Let the user into the home again: the user may change its modes and lock itself out."""
    with suppress(FileNotFoundError):
        if layout.home.stat().st_mode & 0o700 != 0o700:
            layout.home.chmod(0o700)


def pipe_to_user(
    config: Config, layout: Layout, deadline: Deadline, producer: Sequence[str], consumer: Sequence[str]
) -> None:
    """Run `producer` as root, and `consumer` as the environment's user on what it writes.

    Raises CommandTimedOut, OutputTooLong or CommandFailed.
    """
    timeout = deadline.remaining()
    with _alone(config, layout):
        pipe(producer, _as_user(config, layout, timeout, consumer), timeout=timeout)


def pipe_from_user(
    config: Config, layout: Layout, deadline: Deadline, producer: Sequence[str], file: Path, most: int
) -> None:
    """Run `producer` as the environment's user, and write what it writes to root's `file`, `most` bytes.

    Raises CommandTimedOut or CommandFailed, and OperationFailed when it writes more.
    """
    timeout = deadline.remaining()
    keep = ["/bin/sh", "-c", 'exec head -c "$1" >"$2"', "sh", str(most + 1), str(file)]
    with _alone(config, layout):
        pipe(_as_user(config, layout, timeout, producer), keep, timeout=timeout)
    if file.stat().st_size > most:
        raise OperationFailed(
            f"{layout.user} sends more than {most >> 20} MiB at once; move it in a quieter hour"
        )


def user_apply(
    config: Config, layout: Layout, deadline: Deadline, steps: Sequence[Step]
) -> Mapping[type[Step], object]:
    """Do the steps as the user, in one process. Returns what each answered, which nobody has checked yet.

    What could not be removed is noted (`Leftovers`). Raises OperationFailed with the first failing step's
    message, OperationTimedOut at the deadline. The user may have answered anything.
    """
    open_home(layout)
    # So that the user's side is the first to report its own time-out.
    timeout = max(1.0, deadline.remaining() - _ANSWER_SECONDS)
    request = Request(layout, config.tools, timeout, tuple(steps))
    completed = _run_as_user(config, layout, deadline, request.to_json().encode())
    try:
        answer = json.loads(completed.stdout)
        Leftovers(config.leftovers_dir).note(layout.user, _lines(answer.get("left")), time.time())
        if completed.returncode == 0:
            return {type(step): answer["results"].get(type(step).__name__) for step in steps}
        message = tail(str(answer["error"]), _MESSAGE_CHARACTERS)
        timed_out = bool(answer["timedOut"])
        if answer["unitFailed"]:
            message += _journal(config, layout)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        detail = tail(completed.stderr.decode("utf-8", "replace"), _MESSAGE_CHARACTERS)
        raise OperationFailed(
            f"user-apply as {layout.user} gave no answer (status {completed.returncode}): {detail}"
        ) from None
    raise OperationTimedOut(message) if timed_out else OperationFailed(message)


def _run_as_user(config: Config, layout: Layout, deadline: Deadline, request: bytes) -> Completed:
    timeout = deadline.remaining()
    argv = _as_user(config, layout, timeout, [config.tool("hostenv-node"), "user-apply"])
    with _alone(config, layout):
        return run(argv, timeout=timeout, stdin=request, check=False)


def _as_user(config: Config, layout: Layout, timeout: float, argv: Sequence[str]) -> list[str]:
    environment = {
        "HOME": str(layout.home),
        "USER": layout.user,
        "LOGNAME": layout.user,
        "PATH": PATH,
        "XDG_RUNTIME_DIR": f"/run/user/{layout.uid}",
        # Jobs tell what programs say, and some of it is understood here.
        "LC_ALL": "C.UTF-8",
        **_ISOLATED,
    }
    return [
        config.tool("systemd-run"),
        # The user's name comes first, because an error shows the beginning.
        f"--uid={layout.user}",
        f"--unit={_unit(layout.uid)}",
        f"--slice=user-{layout.uid}.slice",
        *("--quiet", "--wait", "--pipe", "--collect", "--service-type=exec"),
        f"--working-directory={layout.home}",
        f"--property=RuntimeMaxSec={timeout + _OVERTIME_SECONDS:.0f}",
        *(f"--setenv={name}={value}" for name, value in environment.items()),
        "--",
        *argv,
    ]


def _unit(uid: int) -> str:
    return f"hostenv-step-{uid}.service"


@contextmanager
def _alone(config: Config, layout: Layout) -> Iterator[None]:
    """No other step of the user runs beside the block, and none is left when it is interrupted."""
    # An earlier run may have been killed in the middle of one.
    _stop(config, layout.uid)
    try:
        yield
    except BaseException:
        with suppress(CommandFailed):
            _stop(config, layout.uid)
        raise


def _stop(config: Config, uid: int) -> None:
    # Its exit status tells of a unit that is not there, too.
    run([config.tool("systemctl"), "stop", _unit(uid)], timeout=_STOP_SECONDS, check=False)


def _lines(value: object) -> str | None:
    lines = [line for line in value if isinstance(line, str)] if isinstance(value, list) else []
    return tail("; ".join(lines), _MESSAGE_CHARACTERS) or None


def _journal(config: Config, layout: Layout) -> str:
    """The last lines that the user's units wrote."""
    argv = [
        config.tool("systemctl"),
        "status",
        "--no-pager",
        "--full",
        "--lines=8",
        f"user@{layout.uid}.service",
    ]
    lines = run(argv, timeout=60, check=False).text.rpartition("\n\n")[2].splitlines()
    return "; its manager's last lines: " + tail(" | ".join(lines), _MESSAGE_CHARACTERS)
