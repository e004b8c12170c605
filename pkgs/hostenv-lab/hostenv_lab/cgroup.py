"""Control groups of a run: one for each machine, so that nothing a machine started can be missed."""

import contextlib
import errno
import os
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from hostenv_core.errors import HostenvError

_EMPTY_WITHIN = 20.0


@dataclass(frozen=True)
class Hierarchy:
    """A mounted control group tree, and how lines of `/proc/PID/cgroup` name it."""

    root: Path
    label: str

    def path_of(self, pid: int) -> Path:
        """The group of a process. Raises OSError if there is no such process."""
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, label, path = line.split(":", 2)
            if label == self.label:
                return self.root / path.lstrip("/")
        raise OSError(errno.ESRCH, "process without control group", str(pid))


def hierarchies(mountinfo: str) -> tuple[Hierarchy, ...]:
    """The trees that systemd uses to follow processes: cgroup 2, and/or `name=systemd`."""
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        root = Path(fields.split(" ")[4].replace("\\040", " "))
        if kind == "cgroup2":
            found.setdefault("", root)
        elif kind == "cgroup" and "name=systemd" in options.split(","):
            found.setdefault("name=systemd", root)
    return tuple(Hierarchy(root, label) for label, root in found.items())


class ControlGroup:
    """The group of one run, by its name; `open` makes the groups of its machines."""

    def __init__(self, name: str) -> None:
        self._hierarchies = hierarchies(Path("/proc/self/mountinfo").read_text())
        self._name = name

    def open(self, machine: str) -> list[Path]:
        """Make a machine's group and return the files that a process writes itself into.

        Raises HostenvError where control groups are not mounted or cannot be made.
        """
        if not self._hierarchies:
            raise HostenvError("no control groups below /sys/fs/cgroup: mount cgroup2 there")
        files = []
        for hierarchy in self._hierarchies:
            group = hierarchy.root / self._name / machine
            try:
                group.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise HostenvError(f"cannot make the control group {group}: {error.strerror}") from error
            files.append(group / "cgroup.procs")
        return files

    def beside(self, pid: int) -> list[Path]:
        """The files through which a process joins another's groups. Raises OSError if that one is gone."""
        return [hierarchy.path_of(pid) / "cgroup.procs" for hierarchy in self._hierarchies]

    def kill(self, machine: str = "") -> None:
        """End every process of a machine, or of the run, and remove the emptied groups.

        Raises HostenvError if processes outlive SIGKILL for 20 seconds, or the groups do.
        """
        tops = [hierarchy.root / self._name / machine for hierarchy in self._hierarchies]
        limit = time.monotonic() + _EMPTY_WITHIN
        # A process that was just being started may join an emptied group, so it is emptied until it is gone;
        # and a group stays busy for a moment after its last process.
        while not all(_remove(top) for top in tops):
            pids = {pid for top in tops for pid in _members(top)}
            if time.monotonic() > limit:
                left = f"processes {sorted(pids)} do not end" if pids else "it is empty"
                raise HostenvError(f"the control group {self._name} cannot be removed: {left}")
            if pids:
                _kill(pids, limit)
            else:
                time.sleep(0.01)


def _kill(pids: set[int], limit: float) -> None:
    """End processes and wait until they are gone; a dying one has left its group before."""
    with contextlib.ExitStack() as stack:
        poll = select.poll()
        alive = 0
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                stack.callback(os.close, handle)
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                poll.register(handle, select.POLLIN)
                alive += 1
        while alive and (left := limit - time.monotonic()) > 0:
            for handle, _ in poll.poll(left * 1000):
                poll.unregister(handle)
                alive -= 1


def _members(top: Path) -> set[int]:
    members = set()
    for folder, _, _ in os.walk(top):
        with contextlib.suppress(OSError):
            members |= {int(pid) for pid in (Path(folder) / "cgroup.procs").read_text().split()}
    # a process of a foreign pid namespace shows as 0
    return members - {0}


def _remove(top: Path) -> bool:
    for folder, _, _ in os.walk(top, topdown=False):
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True
