"""The user's side of the freeze (contract 8): requests in flight end, the customer's units are stopped."""

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hostenv_core.files import sync_directory

from hostenv_node.environment.layout import SYSTEM_UNIT_DIRS, Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.user.files import write_file
from hostenv_node.user.paths import clear, read_file
from hostenv_node.user.process import UserProcess
from hostenv_node.user.units import control, stop_all

DRAIN_SECONDS = 30
_STAND_STILL_SECONDS = 30
_TYPES = ("service", "timer", "path", "socket")


@dataclass(frozen=True)
class _Memory:
    """What the thaw starts again."""

    units: Sequence[str]
    texts: Mapping[str, str]
    """Unit files that are in no folder of the customer's, by name."""


def freeze(process: UserProcess) -> None:
    """Stop the customer's units and let requests in flight end (30 s at most), then renew PHP-FPM."""
    layout = process.layout
    _stand_still(process, [])
    end = time.monotonic() + DRAIN_SECONDS
    for worker in _renew(process, layout.nginx_unit, end):
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGTERM)
    # a restart would close its socket for a moment, and readers would get errors
    if _renew(process, layout.fpm_unit, end):
        control(process, "try-restart", [layout.fpm_unit])


def hold(process: UserProcess, units: Sequence[str]) -> None:
    """Stop what the customer has here, and start `units` when it thaws."""
    _stand_still(process, units)


def thaw(process: UserProcess) -> None:
    """Start again what was stopped, and nothing else; whether it starts is its owner's business."""
    # Without this file an earlier version froze the environment, which stopped only timers.
    memory = _remembered(process.layout) or _Memory(["timers.target"], {})
    # Whoever made it for the moment, and a reboot removed it or systemd, once it was stopped.
    folder = _runtime_dir() / "user"
    for name, text in memory.texts.items():
        with suppress(OSError, OperationFailed):
            write_file(process, folder / name, text.encode(errors="surrogateescape"), 0o600)
    process.systemctl("daemon-reload")
    # A socket does not start any more once its service has.
    units = sorted(memory.units, key=lambda unit: not unit.endswith(".socket"))
    if units:
        process.systemctl("start", "--no-block", "--", *units, check=False)
    clear(process, process.layout.standing_still)
    # The move that it was made for has its verdict.
    clear(process, process.layout.sync_dir)


def _stand_still(process: UserProcess, others: Sequence[str]) -> None:
    """Stop what the customer runs, after it is on disk that this and `others` must be started again."""
    layout = process.layout
    running = _customers(process)
    # A repeated freeze finds what it stopped before already stopped.
    before = _remembered(layout) or _Memory([], {})
    units = sorted({*before.units, *running, *others})
    memory = {"units": units, "texts": {**before.texts, **_transient(running)}}
    write_file(process, layout.standing_still, json.dumps(memory).encode(), 0o600)
    sync_directory(layout.state_dir)
    if running:
        stop_all(process, running, _STAND_STILL_SECONDS)


def _remembered(layout: Layout) -> _Memory | None:
    if not os.path.lexists(layout.standing_still):
        return None
    try:
        values = json.loads(read_file(layout.standing_still) or b"")
        texts = {str(name): str(text) for name, text in values["texts"].items()}
        return _Memory([str(unit) for unit in values["units"]], texts)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # The customer may damage this file; the harm is the customer's own.
        return _Memory(["default.target"], {})


def _customers(process: UserProcess) -> list[str]:
    """What runs or is about to, but is neither ours nor the system's; timers are, whosever they are."""
    layout = process.layout
    kinds = f"--type={','.join(_TYPES)}"
    states = "--state=active,activating,reloading"
    listed = process.systemctl("list-units", kinds, states, "--full", "--plain", "--no-legend").text
    names = {line.split()[0] for line in listed.splitlines() if line.strip()}
    queued = [
        line.split() for line in process.systemctl("list-jobs", "--full", "--no-legend").text.splitlines()
    ]
    names |= {job[1] for job in queued if len(job) == 4 and job[2] in ("start", "restart")}
    return sorted(name for name in names if _is_customers(layout, name))


def _is_customers(layout: Layout, name: str) -> bool:
    kind = name.rpartition(".")[2]
    if kind not in _TYPES or layout.is_own_unit(name):
        return False
    return kind == "timer" or not any((folder / name).exists() for folder in SYSTEM_UNIT_DIRS)


def _transient(units: Sequence[str]) -> dict[str, str]:
    """Those made for the moment (`systemd-run`), with what they trigger: name → text."""
    stems = {unit.rpartition(".")[0] for unit in units}
    texts = {}
    for path in (_runtime_dir() / "transient").glob("*.*"):
        if path.stem in stems and path.suffix[1:] in _TYPES:
            # If one ends meanwhile, its file is gone too.
            content = read_file(path)
            if content is not None:
                texts[path.name] = content.decode("utf-8", "surrogateescape")
    return texts


def _runtime_dir() -> Path:
    return Path(os.environ["XDG_RUNTIME_DIR"]) / "systemd"


def _renew(process: UserProcess, unit: str, end: float) -> set[int]:
    """Reload a server, which gets new workers; returns the old ones left at `end` (`time.monotonic`)."""
    master = int(process.systemctl("show", "--property=MainPID", "--value", unit).text)
    before = _children(master)
    if before:
        process.systemctl("reload", unit, check=False)
        process.wait_until(lambda: not (before & _children(master)), max(0.0, end - time.monotonic()))
    return before & _children(master)


def _children(pid: int) -> set[int]:
    try:
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except (FileNotFoundError, ProcessLookupError):
        return set()
