"""What the tests with real machines share."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def traces() -> Callable[[str], list[str]]:
    """Finds what is left of a run on this host: processes in its groups, mounts, groups."""

    def find(run_id: str) -> list[str]:
        found = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if run_id in line]
        found += [str(path) for path in Path("/run/systemd").glob(f"nspawn/*/{run_id}*")]
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                # one that is dead may still wait for this host's init to bury it
                dead = (process / "stat").read_text().rpartition(") ")[2].startswith("Z")
                found += [str(process)] if run_id in (process / "cgroup").read_text() and not dead else []
        groups = Path("/sys/fs/cgroup")
        return found + [str(group) for pattern in (run_id, f"*/{run_id}") for group in groups.glob(pattern)]

    return find
