"""Starting, stopping and checking the environment's user units, as its user."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from hostenv_core.processes import CommandFailed, CommandTimedOut

from hostenv_node.environment.steps import UnitFiles
from hostenv_node.errors import OperationFailed
from hostenv_node.user.files import make_link, write_file
from hostenv_node.user.paths import clear, read_file
from hostenv_node.user.process import UserProcess

_START_SECONDS = 60
_STOP_SECONDS = 60
_KILL_SECONDS = 30


class UnitFailed(OperationFailed):
    """A unit does not run; why is in the journal, which root can read."""


def load(process: UserProcess) -> None:
    """Let the manager read the unit files."""
    process.systemctl("daemon-reload")


def start(process: UserProcess, unit_files: UnitFiles) -> None:
    """Start what serves, now and with the user's manager."""
    bring_up(process, unit_files)
    make_link(process, _wanted_link(process), f"../{process.layout.target_unit}")
    control(process, "start", list(process.layout.units))


def bring_up(process: UserProcess, wanted: UnitFiles) -> None:
    """Start units; one whose files changed since its last start uses the new ones."""
    stamps = process.layout.state_dir / "started.json"
    known = _stamps(stamps)
    digests = {
        unit: _digest({path: read_file(Path(path)) or b"" for path in files})
        for unit, files in wanted.items()
    }
    changed = [unit for unit in wanted if known.get(unit) != digests[unit]]
    for unit in wanted:
        if unit not in changed:
            verb = "start"
        else:
            # Only nginx can load a new configuration without refusing anybody.
            verb = "reload-or-restart" if unit == process.layout.nginx_unit else "restart"
            _await_start(process, [unit], math.inf)
        control(process, verb, [unit])
    write_file(process, stamps, json.dumps({**known, **digests}).encode(), 0o600)


def control(process: UserProcess, verb: str, units: Sequence[str]) -> None:
    """Let the manager do something with units; raises UnitFailed if that does not happen to one of them."""
    try:
        process.systemctl(verb, *units)
    except CommandTimedOut:
        raise
    except CommandFailed as error:
        raise UnitFailed(str(error)) from error


def start_anew(process: UserProcess, unit: str) -> None:
    """Start one unit, whatever is left of an earlier start, and wait until it is ready."""
    control(process, "restart", [unit])


def stop(process: UserProcess, *, manager_runs: bool) -> None:
    """Stop and disable everything of the environment, and check that nothing runs.

    Its credentials and the keys of those who log in are removed. Unless `manager_runs`, no unit does.
    """
    layout = process.layout
    disable(process)
    secrets = [layout.config_dir / name for name in ("backup.env", "application.env", "hash-salt")]
    for path in (*secrets, layout.home / ".ssh/authorized_keys", layout.standing_still, layout.sync_dir):
        clear(process, path)
    if not manager_runs:
        return
    serving = reversed([*layout.units, layout.restore_unit, layout.candidate_unit])
    stop_stale(process, [*serving, "restic-backups-*.service"])


def stop_stale(process: UserProcess, units: Sequence[str]) -> None:
    """Stop units of ours that no longer serve anybody; a MariaDB that is killed recovers.

    Raises OperationFailed when one runs on.
    """
    # MariaDB may hang for ever when it is told to stop while it starts.
    _await_start(process, process.layout.units, _START_SECONDS)
    stop_all(process, units, _STOP_SECONDS)


def stop_all(process: UserProcess, units: Sequence[str], seconds: float) -> None:
    """Stop units; what has not ended after so long is killed.

    Raises OperationFailed when one runs on.
    """

    def killed() -> bool:
        # Repeatedly, because a unit's own commands may run after its end.
        process.systemctl("kill", "--signal=KILL", "--", *units, check=False)
        return not _running(process, units)

    process.systemctl("stop", "--no-block", "--", *units, check=False)
    if not process.wait_until(lambda: not _running(process, units), seconds):
        process.wait_until(killed, _KILL_SECONDS)
    running = _running(process, units)
    if running:
        raise OperationFailed(f"units of {process.layout.user} do not stop: {'; '.join(running)}")


def await_end(process: UserProcess, unit: str) -> None:
    """Wait until a unit that was told to end has ended.

    Raises UnitFailed when it did not end well.
    """
    process.wait_until(lambda: not _running(process, [unit]), math.inf)
    result = process.systemctl("show", "--property=Result", "--value", unit).text.strip()
    if result != "success":
        raise UnitFailed(f"{unit} did not end well ({result})")


def disable(process: UserProcess) -> None:
    """Nothing of the environment starts with the user's manager."""
    clear(process, _wanted_link(process))


def _await_start(process: UserProcess, units: Sequence[str], seconds: float) -> None:
    """Wait, at most this long, until none of the units is still between its start and being ready."""

    def settled() -> bool:
        shown = process.systemctl("show", "--property=SubState", *units).text
        return not any(line.startswith("SubState=start") for line in shown.splitlines())

    process.wait_until(settled, seconds)


def _running(process: UserProcess, units: Sequence[str]) -> list[str]:
    shown = process.systemctl("show", "--property=Id,ActiveState", "--", *units).text
    return [
        block.replace("\n", " ")
        for block in shown.strip().split("\n\n")
        if block and not ("ActiveState=inactive" in block or "ActiveState=failed" in block)
    ]


def _stamps(path: Path) -> Mapping[str, object]:
    try:
        stamps = json.loads(read_file(path) or b"{}")
    except (ValueError, RecursionError):
        stamps = None
    return stamps if isinstance(stamps, dict) else {}


def _wanted_link(process: UserProcess) -> Path:
    return process.layout.units_dir / "default.target.wants" / process.layout.target_unit


def _digest(files: Mapping[str, bytes]) -> str:
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(f"{path}\0{len(files[path])}\0".encode())
        total.update(files[path])
    return total.hexdigest()
