"""The wizard on NixOS machines: `tests/demo.nix` has the NixOS test driver run `guide` as its test script.

Imported by that driver only: machines, network and commands are its own, and what the demo asks of the lab's
machines is asked of them here.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import urlsplit

from hostenv_core import processes
from hostenv_core.errors import HostenvError
from hostenv_lab import host, record, run
from hostenv_lab.errors import MachineError
from hostenv_lab.forward import ENDPOINTS_FILE
from hostenv_lab.log import Log, Sink
from hostenv_lab.memory import require_memory
from hostenv_lab.parallel import ENDING_SIGNALS
from test_driver.errors import MachineError as DriverMachineError

from hostenv_demo import cli, demo, evidence, keys, shell
from hostenv_demo.console import Console
from hostenv_demo.machines import Machine
from hostenv_demo.provider_service import SOCKET

_GUEST_SOCKET = "/run/hostenv-provider/hostenv-provider.sock"
_PARTS = {"comin": "its own package", "Drupal": "nixpkgs' package"}
_STDOUT, _STDERR = 1, 2


def guide(names: Mapping[str, Any], endpoints: Mapping[str, str], memory: int) -> NoReturn:
    """Guide somebody through the demo on the driver's machines, and exit as `run-demo.sh` does (contract 9).

    `names` are the driver's names for its scripts; `endpoints` what its machines forward to this host;
    `memory` what they take of it, in MiB.
    """

    def work() -> int:
        keys.check()
        require_memory(memory)
        console = Console()
        with console:
            passed = demo.run_on(
                lambda folder, tell: NixosMachines(names, endpoints, folder, tell),
                _PARTS,
                demo.Options(),
                console,
            )
        return cli.verdict(passed, console)

    # outside of the wizard they end nothing: the driver must come to its own end
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    try:
        status = cli.answer(work)
    finally:
        # What the driver says at its end is no news, and must not fail for a terminal that is gone.
        with open(os.devnull, "ab") as nowhere:
            for stream in (_STDOUT, _STDERR):
                os.dup2(nowhere.fileno(), stream)
    sys.exit(status)


class NixosMachines:
    """The driver's machines for one run of the demo. A context manager that ends them.

    Entering raises HostenvError if an endpoint's port is in use.
    """

    def __init__(
        self, names: Mapping[str, Any], endpoints: Mapping[str, str], workdir: Path, tell: Sink
    ) -> None:
        self._names = names
        self.kind = "NixOS VMs" if host.kvm_may_work() else "NixOS VMs, emulated and slow: no KVM here"
        self.endpoints = endpoints
        self.workdir = workdir
        self.driver = NixosDriver(names, workdir, Log(tell))

    def __enter__(self) -> Self:
        for endpoint in self.endpoints.values():
            _require_free(endpoint)
        record.create(self.workdir)
        logs, output = self.workdir / "logs", self.workdir / evidence.FOLDER
        for folder in (logs, output, (self.workdir / SOCKET).parent):
            folder.mkdir(exist_ok=True)
        (self.workdir / ENDPOINTS_FILE).write_text(json.dumps(self.endpoints, indent=2) + "\n")
        # the terminal is the wizard's
        self._terminal = os.dup(_STDERR)
        with (logs / "driver.log").open("ab") as log:
            os.dup2(log.fileno(), _STDERR)
        for machine in self._names["machines"]:
            machine.out_dir = output
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.driver.close()
        for machine in self._names["machines"]:
            with contextlib.suppress(Exception):
                # one that cannot be ended must not keep the others
                machine.release()
        os.dup2(self._terminal, _STDERR)
        os.close(self._terminal)


class NixosDriver:
    """Runs the script by the NixOS test driver's own names, and tells what it does."""

    def __init__(self, names: Mapping[str, Any], workdir: Path, log: Log) -> None:
        self._names = names
        self._workdir = workdir
        self._log = log
        self._tunnel: subprocess.Popen[bytes] | None = None
        self.machines: Sequence[Machine] = [_Machine(machine) for machine in names["machines"]]

    def run_script(self, path: Path, **replaced: object) -> None:
        """Run a script as the driver would, with `replaced` in place of its names. Raises what it raises."""
        told = _Told(self._log, self._workdir / "logs")
        loggers = self._names["driver"].logger.logger_list
        loggers.append(told)
        try:
            with _as_ours():
                exec(
                    compile(path.read_text(encoding="utf-8"), str(path), "exec"), {**self._names, **replaced}
                )
        finally:
            loggers.remove(told)

    @contextlib.contextmanager
    def subtest(self, name: str) -> Iterator[None]:
        """One stage, for the driver and for people."""
        if self._tunnel is None and shell.is_open(self._workdir):
            self._tunnel = self._reach_service()
        with self._log.stage(name), self._names["subtest"](name):
            yield

    def close(self) -> None:
        """End what reaches into the machines."""
        if self._tunnel is not None:
            processes.kill(self._tunnel)

    def _reach_service(self) -> subprocess.Popen[bytes]:
        ssh = ["ssh", "-F", str(self._workdir / "ssh" / "config"), "-N", "-o", "ExitOnForwardFailure=yes"]
        return run.start(
            [*ssh, "-L", f"{self._workdir / SOCKET}:{_GUEST_SOCKET}", "provider"],
            output=self._workdir / "logs" / "driver.log",
        )


class _Machine:
    """One of the driver's machines; what it raises are our own errors."""

    def __init__(self, machine: Any) -> None:
        self._machine = machine
        self.name: str = machine.name

    def is_up(self) -> bool:
        return bool(self._machine.is_up())

    def succeed(self, *command: str) -> str:
        with _as_ours():
            return str(self._machine.succeed(*command))

    def execute(self, command: str, *, timeout: int | None) -> tuple[int, str]:
        with _as_ours():
            status, output = self._machine.execute(command, timeout=timeout)
        return status, output


class _Told:
    """A logger of the driver: tells people what goes on, and keeps each machine's console as a log."""

    def __init__(self, log: Log, logs: Path) -> None:
        self._log = log
        self._logs = logs

    def info(self, message: str, *_: object) -> None:
        self._log.info(message)

    def warning(self, message: str, *_: object) -> None:
        self._log.warning(message)

    @contextlib.contextmanager
    def nested(self, message: str, _attributes: object = None) -> Iterator[None]:
        with self._log.nested(message):
            yield

    @contextlib.contextmanager
    def subtest(self, _name: str, _attributes: object = None) -> Iterator[None]:
        yield

    def log_serial(self, message: str, machine: str) -> None:
        with (self._logs / f"{machine}.log").open("a", encoding="utf-8") as stream:
            stream.write(f"{message}\n")

    def _nothing(self, *_: object) -> None:
        """The rest stands in the driver's own log."""

    log = debug = error = log_test_error = print_serial_logs = set_log_level = _nothing


@contextlib.contextmanager
def _as_ours() -> Iterator[None]:
    try:
        yield
    except DriverMachineError as error:
        raise MachineError(str(error)) from error


def _require_free(endpoint: str) -> None:
    address = urlsplit(endpoint)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.hostname, address.port))
        except OSError as error:
            raise HostenvError(
                f"{address.netloc}: {error.strerror}; the machines answer there, so end what listens there"
            ) from error
