"""Starting, stopping, freezing and checking the environment's user units, as its user."""

import hashlib
import json
import math
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hostenv_node.operations import OperationFailed
from hostenv_node.run import CommandFailed, CommandTimedOut
from hostenv_node.runtime.user_files import make_link, write_file
from hostenv_node.runtime.user_process import UserProcess

DRAIN_SECONDS = 30
_START_SECONDS = 60
_STOP_SECONDS = 60
_KILL_SECONDS = 30


class UnitFailed(OperationFailed):
    """A unit does not run; why is in the journal, which root can read."""


def load(process: UserProcess, _arguments: Mapping[str, object]) -> None:
    """Let the manager read the unit files."""
    process.systemctl("daemon-reload")


def start(process: UserProcess, arguments: Mapping[str, object]) -> None:
    """Start what serves, now and with the user's manager."""
    bring_up(process, unit_files(arguments))
    make_link(_wanted_link(process), f"../{process.layout.target_unit}")
    _systemctl(process, "start", list(process.layout.units))


def bring_up(process: UserProcess, wanted: Mapping[str, Sequence[str]]) -> None:
    """Start units (unit → its files); one whose files changed since its last start takes up the change."""
    stamps = process.layout.state_dir / "started.json"
    known = json.loads(stamps.read_text()) if stamps.exists() else {}
    digests = {
        unit: _digest({path: Path(path).read_bytes() for path in files}) for unit, files in wanted.items()
    }
    changed = [unit for unit in wanted if known.get(unit) != digests[unit]]
    for unit in wanted:
        if unit not in changed:
            verb = "start"
        else:
            # nginx alone can take up a new configuration without refusing anybody.
            verb = "reload-or-restart" if unit == process.layout.nginx_unit else "restart"
            _await_start(process, [unit], math.inf)
        _systemctl(process, verb, [unit])
    write_file(stamps, json.dumps({**known, **digests}).encode(), 0o600)


def start_unit(process: UserProcess, unit: str) -> None:
    """Start one unit and wait until it is ready."""
    _systemctl(process, "start", [unit])


def unit_files(arguments: Mapping[str, object]) -> Mapping[str, Sequence[str]]:
    """The units of a step and the files that each is started from."""
    files = arguments["unitFiles"]
    assert isinstance(files, dict)
    return files


def stop(process: UserProcess, arguments: Mapping[str, object]) -> None:
    """Stop and disable everything of the environment, forget its credentials, and check that nothing runs.

    With `manager` false the user's manager does not run, hence no unit does.
    """
    layout = process.layout
    disable(process)
    for name in ("backup.env", "application.env", "hash-salt"):
        (layout.config_dir / name).unlink(missing_ok=True)
    if not arguments["manager"]:
        return
    stop_stale(process, [*reversed([*layout.units, layout.restore_unit]), "restic-backups-*.service"])


def stop_stale(process: UserProcess, units: Sequence[str]) -> None:
    """Stop units that serve nobody any more. What has not ended after a minute is killed: InnoDB recovers.

    Raises OperationFailed when one runs on.
    """
    # MariaDB may hang for good when it is told so while it starts.
    _await_start(process, process.layout.units, _START_SECONDS)
    process.systemctl("stop", "--no-block", *units, check=False)
    if not process.wait_until(lambda: not _running(process, units), _STOP_SECONDS):
        process.systemctl("kill", "--signal=KILL", *units, check=False)
        process.wait_until(lambda: not _running(process, units), _KILL_SECONDS)
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
    _wanted_link(process).unlink(missing_ok=True)


def freeze(process: UserProcess, _arguments: Mapping[str, object]) -> None:
    """Stop the timers, let requests in flight end (30 s at most), then renew PHP-FPM (contract 8)."""
    layout = process.layout
    listed = process.systemctl("list-units", "--type=timer", "--state=active", "--plain", "--no-legend").text
    timers = [line.split()[0] for line in listed.splitlines() if line.strip()]
    if timers:
        process.systemctl("stop", *timers)
    end = time.monotonic() + DRAIN_SECONDS
    for worker in _renew(process, layout.nginx_unit, end):
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGTERM)
    # a restart would close its socket for a moment, and readers would get errors
    if _renew(process, layout.fpm_unit, end):
        _systemctl(process, "try-restart", [layout.fpm_unit])


def _renew(process: UserProcess, unit: str, end: float) -> set[int]:
    """Reload a server, which gets new workers; returns the old ones left at `end` (`time.monotonic`)."""
    master = int(process.systemctl("show", "--property=MainPID", "--value", unit).text)
    before = _children(master)
    if before:
        process.systemctl("reload", unit, check=False)
        process.wait_until(lambda: not (before & _children(master)), max(0.0, end - time.monotonic()))
    return before & _children(master)


def _await_start(process: UserProcess, units: Sequence[str], seconds: float) -> None:
    """Wait, at most so long, until none of the units is on its way from its start to being ready."""

    def settled() -> bool:
        shown = process.systemctl("show", "--property=SubState", *units).text
        return not any(line.startswith("SubState=start") for line in shown.splitlines())

    process.wait_until(settled, seconds)


def _running(process: UserProcess, units: Sequence[str]) -> list[str]:
    shown = process.systemctl("show", "--property=Id,ActiveState", *units).text
    return [
        block.replace("\n", " ")
        for block in shown.strip().split("\n\n")
        if block and not ("ActiveState=inactive" in block or "ActiveState=failed" in block)
    ]


def _wanted_link(process: UserProcess) -> Path:
    return process.layout.units_dir / "default.target.wants" / process.layout.target_unit


def _children(pid: int) -> set[int]:
    try:
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except (FileNotFoundError, ProcessLookupError):
        return set()


def _systemctl(process: UserProcess, verb: str, units: list[str]) -> None:
    try:
        process.systemctl(verb, *units)
    except CommandTimedOut:
        raise
    except CommandFailed as error:
        raise UnitFailed(str(error)) from error


def _digest(files: Mapping[str, bytes]) -> str:
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(f"{path}\0{len(files[path])}\0".encode())
        total.update(files[path])
    return total.hexdigest()
