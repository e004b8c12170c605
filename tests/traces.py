"""What is left of a run on this host, for tests that say: nothing."""

import contextlib
import time
from pathlib import Path

_GONE_WITHIN = 60


def traces(run_id: str, workdir: Path | None = None) -> list[str]:
    """A run's processes, mounts, control groups and, if it is given, its work folder."""
    names = [run_id, *([str(workdir)] if workdir else [])]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found = [line for line in mounts if any(name in line for name in names)]
    found += [str(path) for path in Path("/run/systemd").glob(f"nspawn/*/{run_id}*")]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # one that is dead may still wait for this host's init to bury it
            dead = (process / "stat").read_text().rpartition(") ")[2].startswith("Z")
            found += [str(process)] if run_id in (process / "cgroup").read_text() and not dead else []
    groups = Path("/sys/fs/cgroup")
    found += [str(group) for pattern in (run_id, f"*/{run_id}") for group in groups.glob(pattern)]
    return found + ([str(workdir)] if workdir and workdir.exists() else [])


def assert_gone(run_id: str, workdir: Path) -> None:
    """Nothing is left, at the latest when what was killed has been buried."""
    limit = time.monotonic() + _GONE_WITHIN
    while (left := traces(run_id, workdir)) and time.monotonic() < limit:
        time.sleep(0.2)
    assert not left
