"""How root has something done by an environment's user; it opens no path below a home itself (contract 8)."""

import json
import pwd
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hostenv_node.config import Config
from hostenv_node.errors import one_line
from hostenv_node.operations import Deadline, OperationFailed, OperationTimedOut
from hostenv_node.run import run
from hostenv_node.runtime.layout import PATH, Layout
from hostenv_node.runtime.leftovers import Leftovers

Step = tuple[str, Mapping[str, object]]

_ANSWER_SECONDS = 5.0
_MESSAGE_CHARACTERS = 4000
# Nothing of the user's own joins the part that root starts: neither its usercustomize nor its folders.
_ISOLATED = ("PYTHONNOUSERSITE=1", "PYTHONSAFEPATH=1")


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
    """Let the user into the home again: its modes are the user's to change, and keep out all that runs so."""
    with suppress(FileNotFoundError):
        if layout.home.stat().st_mode & 0o700 != 0o700:
            layout.home.chmod(0o700)


def as_user(config: Config, layout: Layout, *argv: str) -> list[str]:
    """The argument list that runs `argv` as the environment's user, in its environment."""
    return [
        config.tool("runuser"),
        "-u",
        layout.user,
        "--",
        "/usr/bin/env",
        f"--chdir={layout.home}",
        f"HOME={layout.home}",
        f"USER={layout.user}",
        f"LOGNAME={layout.user}",
        f"PATH={PATH}",
        f"XDG_RUNTIME_DIR=/run/user/{layout.uid}",
        *argv,
    ]


def user_apply(
    config: Config, layout: Layout, deadline: Deadline, steps: Sequence[Step]
) -> Mapping[str, object]:
    """Do the steps as the user, in one process; their results by name, which nobody has looked at yet.

    What could not be removed is noted (`Leftovers`). Raises OperationFailed with the first failing step's
    message, OperationTimedOut at the deadline. The user may have answered anything.
    """
    open_home(layout)
    request = {
        "layout": layout.to_json(),
        "tools": dict(config.tools),
        # So that the user's side speaks first about its own time-out.
        "timeout": max(1.0, deadline.remaining() - _ANSWER_SECONDS),
        "steps": steps,
    }
    completed = run(
        as_user(config, layout, *_ISOLATED, config.tool("hostenv-node"), "user-apply"),
        timeout=deadline.remaining(),
        stdin=json.dumps(request).encode(),
        cwd=Path("/"),
        check=False,
    )
    try:
        answer = json.loads(completed.stdout)
        Leftovers(config.leftovers_dir).note(layout.user, _lines(answer.get("left")), time.time())
        if completed.returncode == 0:
            return dict(answer["results"])
        message = one_line(str(answer["error"]), _MESSAGE_CHARACTERS)
        timed_out = bool(answer["timedOut"])
        if answer["unitFailed"]:
            message += _journal(config, layout)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        detail = one_line(completed.stderr.decode("utf-8", "replace"), _MESSAGE_CHARACTERS)
        raise OperationFailed(
            f"user-apply as {layout.user} gave no answer (status {completed.returncode}): {detail}"
        ) from None
    raise OperationTimedOut(message) if timed_out else OperationFailed(message)


def _lines(value: object) -> str | None:
    lines = [line for line in value if isinstance(line, str)] if isinstance(value, list) else []
    return one_line("; ".join(lines), _MESSAGE_CHARACTERS) or None


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
    return "; its manager's last lines: " + one_line(" | ".join(lines), _MESSAGE_CHARACTERS)
