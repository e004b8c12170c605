"""Waits for a moment on a node and sends a signal there and then; a driver outside would be too slow.

usage: trap.py MARK SIGNAL VICTIM journal OP | store NAME | noted FILE | process PATTERN

`journal`: the node has recorded that an action OP has begun. `store`: Nix has built a new path with NAME in
it; a path is there a moment earlier, and comin, killed in between, takes it for built and fails. `noted`:
comin has written into its FILE that it deploys. `process`: a regular expression is found in the command line
of a process. VICTIM is a unit, or `-` for that process. The file MARK.set is made when it watches, MARK when
the signal is sent.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PERIOD = 0.002
JOURNALS = Path("/var/lib/hostenv/jobs")
STORE = Path("/nix/store")


def begun(op: str) -> bool:
    """Whether an action is under way, by the node's own journals."""
    for path in JOURNALS.glob("[!.]*.json"):
        try:
            actions = json.loads(path.read_text())["actions"]
        except OSError:
            continue
        if any(action["op"] == op and action["progress"] == "started" for action in actions):
            return True
    return False


def is_noted(file: Path) -> bool:
    """Whether comin's newest deployment has begun and not ended."""
    try:
        newest = json.loads(file.read_text())["deployments"][0]
    except (OSError, ValueError, LookupError):
        # comin writes it in place
        return False
    return newest["status"] in ("init", "running")


def in_store(name: str) -> set[str]:
    """The store's paths with this in their names."""
    return {path for path in os.listdir(STORE) if name in path and not path.endswith((".drv", ".lock"))}


def is_valid(path: str) -> bool:
    """Whether Nix knows the path, which it does once it is whole."""
    check = ["nix-store", "--check-validity", str(STORE / path)]
    return subprocess.run(check, stderr=subprocess.DEVNULL, timeout=60, check=False).returncode == 0


def processes(pattern: str) -> Iterator[int]:
    """Processes whose command line matches, without this one and those that started it."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if re.search(pattern, command) and "trap.py" not in command:
            yield int(path.parent.name)


def condition(kind: str, what: str) -> Callable[[], list[int] | None]:
    """A function that gives None until the moment has come, and the processes that it is about after it."""
    if kind == "journal":
        return lambda: [] if begun(what) else None
    if kind == "store":
        before = in_store(what)
        return lambda: [] if any(map(is_valid, in_store(what) - before)) else None
    if kind == "noted":
        return lambda: [] if is_noted(Path(what)) else None
    return lambda: list(processes(what)) or None


def send(number: signal.Signals, victim: str, found: list[int]) -> bool:
    """Whether the signal reached anybody; a process may have ended since it was seen."""
    if victim != "-":
        kill = ["systemctl", "kill", "--kill-whom=all", f"--signal={number.name}", victim]
        subprocess.run(kill, check=True, timeout=60)
        return True
    reached = False
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            reached = True
    return reached


def main(arguments: list[str]) -> None:
    mark, name, victim, kind, what = arguments
    come = condition(kind, what)
    Path(f"{mark}.set").touch()
    while (found := come()) is None or not send(signal.Signals[f"SIG{name}"], victim, found):
        time.sleep(PERIOD)
    Path(mark).touch()


if __name__ == "__main__":
    main(sys.argv[1:])
