"""What a run leaves behind if it is killed: `lab.json` in its work folder, and how to remove all of it."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.files import replace_file

from hostenv_lab.cgroup import ControlGroup

FILE = "lab.json"
_FORMAT = 1
_DRIVER_ENDS_WITHIN = 120.0


@dataclass(frozen=True)
class Record:
    """Names everything that a run makes outside its work folder: all of it carries `run_id`.

    `driver` and `started` tell the process that drives the run from a later one with the same number.
    `ended` is true once nothing but the folder is left, which somebody wants to keep.
    """

    run_id: str
    driver: int
    started: int
    format: int = _FORMAT
    ended: bool = False

    def group(self) -> ControlGroup:
        """The run's control group; every process of it but the driver is in it.

        Mounts and the network belong to namespaces of those processes and end with them.
        """
        return ControlGroup(self.run_id)


def create(workdir: Path) -> Record:
    """Make a work folder a lab's, before anything else of the run exists.

    Raises HostenvError if the folder belongs to another run or cannot be used.
    """
    record = Record(f"lab{secrets.token_hex(3)}", os.getpid(), _started(os.getpid()))
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with (workdir / FILE).open("x", encoding="utf-8") as stream:
            json.dump(asdict(record), stream)
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError as error:
        raise HostenvError(
            f"{workdir}: is another run's work folder; choose a new one or tear it down"
        ) from error
    except OSError as error:
        raise HostenvError(f"{workdir}: cannot be the work folder: {error.strerror}") from error
    return record


def read(workdir: Path) -> Record:
    """The record of a work folder. Raises HostenvError if the folder is no lab's."""
    path = workdir / FILE
    try:
        if path.is_symlink():
            raise ValueError("a link")
        record = Record(**json.loads(path.read_text(encoding="utf-8")))
        valid = isinstance(record.driver, int) and record.format == _FORMAT and record.run_id[:3] == "lab"
        if not valid or not record.run_id.isalnum():
            raise ValueError("unknown content")
    except (OSError, ValueError, TypeError) as error:
        raise HostenvError(
            f"{workdir}: is not a lab's work folder (no usable {FILE}); nothing was removed"
        ) from error
    return record


def driven(workdir: Path) -> bool:
    """Whether the process that made the run still drives it. Raises HostenvError as `read` does."""
    record = read(workdir)
    return _started(record.driver) == record.started


def settle(workdir: Path) -> None:
    """Note that a run has ended in order and that its folder stays. Raises HostenvError as `read` does."""
    replace_file(workdir / FILE, json.dumps(asdict(replace(read(workdir), ended=True))).encode(), 0o644)


def remove_folder(workdir: Path) -> None:
    """Remove a work folder, its record at last: if this is cut short, it can be told again what it is."""
    for path in workdir.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            if path.exists():
                shutil.rmtree(path)
        elif path.name != FILE:
            path.unlink(missing_ok=True)
    (workdir / FILE).unlink(missing_ok=True)
    workdir.rmdir()


def teardown(workdir: Path) -> None:
    """Remove all that a run made, its work folder included. A run that is still driven is asked to end first.

    Raises HostenvError if the folder is no lab's.
    """
    record = read(workdir)
    if record.driver != os.getpid():
        _end_driver(record)
    record.group().kill()
    # the driver's own end may have removed it all
    with contextlib.suppress(FileNotFoundError):
        remove_folder(workdir)


def _end_driver(record: Record) -> None:
    limit = time.monotonic() + _DRIVER_ENDS_WITHIN
    _signal_driver(record, signal.SIGTERM)
    while _started(record.driver) == record.started:
        if time.monotonic() > limit:
            _signal_driver(record, signal.SIGKILL)
        time.sleep(0.1)


def _signal_driver(record: Record, number: signal.Signals) -> None:
    if _started(record.driver) == record.started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.driver, number)


def _started(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if there is none, or a dead one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])
