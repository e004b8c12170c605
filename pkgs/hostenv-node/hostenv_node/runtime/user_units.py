"""Starting, stopping, freezing and checking the environment's user units, as its user."""

import hashlib
import json
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from hostenv_node.operations import OperationFailed
from hostenv_node.run import CommandFailed
from hostenv_node.runtime.user_files import make_link, write_file
from hostenv_node.runtime.user_process import UserProcess

DRAIN_SECONDS = 30


def load(process: UserProcess, _arguments: Mapping[str, object]) -> None:
    """Let the manager read the unit files."""
    process.systemctl("daemon-reload")


def start(process: UserProcess, arguments: Mapping[str, object]) -> None:
    """Start the units; those whose files changed since they were last started take up the change."""
    unit_files = arguments["unitFiles"]
    assert isinstance(unit_files, dict)
    stamps = process.layout.state_dir / "started.json"
    known = json.loads(stamps.read_text()) if stamps.exists() else {}
    wanted = {
        unit: _digest({path: Path(path).read_bytes() for path in paths}) for unit, paths in unit_files.items()
    }
    changed = [unit for unit in wanted if known.get(unit) != wanted[unit]]
    reloaded = [unit for unit in changed if unit == process.layout.nginx_unit]
    restarted = [unit for unit in changed if unit not in reloaded]
    if restarted:
        _start(process, "restart", restarted)
    if reloaded:
        _start(process, "reload-or-restart", reloaded)
    make_link(_wanted_link(process), f"../{process.layout.target_unit}")
    _start(process, "start", list(process.layout.units))
    write_file(stamps, json.dumps(wanted).encode(), 0o600)


def start_unit(process: UserProcess, unit: str) -> None:
    """Start one unit and wait until it is ready."""
    _start(process, "start", [unit])


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
    units = [*layout.units, layout.restore_unit]
    process.systemctl("stop", *reversed(units), "restic-backups-*.service", check=False)
    states = process.systemctl("show", "--property=Id,ActiveState", *units).text
    running = [
        block.replace("\n", " ")
        for block in states.strip().split("\n\n")
        if not ("ActiveState=inactive" in block or "ActiveState=failed" in block)
    ]
    if running:
        raise OperationFailed(f"units of {layout.user} do not stop: {'; '.join(running)}")


def disable(process: UserProcess) -> None:
    """Nothing of the environment starts with the user's manager."""
    _wanted_link(process).unlink(missing_ok=True)


def freeze(process: UserProcess, _arguments: Mapping[str, object]) -> None:
    """Stop the timers, let requests in flight end (30 s at most), then restart PHP-FPM (contract 8)."""
    layout = process.layout
    listed = process.systemctl("list-units", "--type=timer", "--state=active", "--plain", "--no-legend").text
    timers = [line.split()[0] for line in listed.splitlines() if line.strip()]
    if timers:
        process.systemctl("stop", *timers)
    before = _workers(process)
    if before:
        process.systemctl("reload", layout.nginx_unit, check=False)
        if not process.wait_until(lambda: not (before & _workers(process)), DRAIN_SECONDS):
            for worker in before & _workers(process):
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGTERM)
    _start(process, "try-restart", [layout.fpm_unit])


def _wanted_link(process: UserProcess) -> Path:
    return process.layout.units_dir / "default.target.wants" / process.layout.target_unit


def _workers(process: UserProcess) -> set[int]:
    try:
        master = int(process.layout.nginx_pid_file.read_text())
        return {int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()}
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return set()


def _start(process: UserProcess, verb: str, units: list[str]) -> None:
    try:
        process.systemctl(verb, *units)
    except CommandFailed as error:
        status = process.systemctl("status", "--lines=5", "--full", *units, check=False).text
        failed = [line.strip() for line in status.splitlines() if "failed" in line or "error" in line.lower()]
        raise OperationFailed(f"{error}; {' | '.join(failed[-8:])}") from error


def _digest(files: Mapping[str, bytes]) -> str:
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(f"{path}\0{len(files[path])}\0".encode())
        total.update(files[path])
    return total.hexdigest()
