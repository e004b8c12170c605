"""Control groups: found as this host mounts them, emptied to the last process."""

import os
import subprocess
from pathlib import Path

import pytest
from hostenv_core import processes
from hostenv_lab import run
from hostenv_lab.cgroup import ControlGroup, Hierarchy, hierarchies

HYBRID = """\
31 24 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 31 0:29 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,name=systemd
34 31 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
UNIFIED = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_the_trees_that_systemd_follows_are_found() -> None:
    assert hierarchies(UNIFIED) == (Hierarchy(Path("/sys/fs/cgroup"), ""),)
    assert set(hierarchies(HYBRID)) == {
        Hierarchy(Path("/sys/fs/cgroup/unified"), ""),
        Hierarchy(Path("/sys/fs/cgroup/systemd"), "name=systemd"),
    }
    assert hierarchies("") == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="control groups need root")
def test_a_group_is_emptied_with_what_its_processes_started(tmp_path: Path) -> None:
    group = ControlGroup(f"labtest{os.getpid()}")
    files = group.open("one")
    # children of their own sessions, one of them an orphan
    script = "setsid sleep 600 & (setsid sleep 600 &); echo; exec sleep 600"
    process = processes.start(run.in_groups(files, ["/bin/sh", "-c", script]), stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert len(files[0].read_text().split()) >= 2
        group.kill()
        assert process.wait(10) != 0
        assert not files[0].parent.parent.exists()
        # one that comes too late must not run
        late = run.run(run.in_groups(files, ["touch", str(tmp_path / "late")]), timeout=10, check=False)
        assert late.returncode != 0
        assert not (tmp_path / "late").exists()
    finally:
        processes.kill(process)
        group.kill()
    group.kill()
