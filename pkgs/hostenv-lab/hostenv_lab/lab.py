"""One run: the machines of a description, from the image to the last trace of them."""

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from hostenv_core.errors import HostenvError

from hostenv_lab import host, image, record
from hostenv_lab.cgroup import ControlGroup
from hostenv_lab.container import ContainerMachine
from hostenv_lab.description import Description, MachineDescription
from hostenv_lab.disk import require_space
from hostenv_lab.driver import Driver
from hostenv_lab.forward import Forwards
from hostenv_lab.layer import Layer, check_substitute
from hostenv_lab.log import Event, FileSink, Log, Sink
from hostenv_lab.machine import BaseMachine, Setting
from hostenv_lab.network import Network
from hostenv_lab.parallel import ENDING_SIGNALS, in_parallel, undisturbed
from hostenv_lab.vm import EMULATION, KVM, Acceleration, VirtualMachine

# Free MiB in the work folder: what the machines of a whole run write.
_NEEDED_MIB = {"container": 1024, "vm": 4096}


class Lab:
    """The machines of one run, as a context manager that leaves nothing but the work folder.

    Inside the block `driver` runs testScripts, `endpoints` names what answers on this host, and `kind` says
    in words what the machines are. The work folder keeps `logs/` (a console for each machine, `driver.log`)
    and `output/`; `record.teardown` removes it.

    `given` maps names of substitutes (`comin`) to what is used instead of the stand-in; `on_event` gets what
    the run says. Entering raises HostenvError; see `ending_signals` for an end by a signal.
    """

    def __init__(
        self,
        description: Description,
        workdir: Path,
        machines: host.Choice = "auto",
        *,
        given: Mapping[str, Path] | None = None,
        on_event: Sink | None = None,
        output_dir: Path | None = None,
    ) -> None:
        self._description = description
        self.workdir = workdir.resolve()
        self._choice = machines
        self._given = dict(given or {})
        self._on_event = on_event
        self._output_dir = output_dir or self.workdir / "output"
        self._stack = contextlib.ExitStack()
        self.endpoints: Mapping[str, str] = {}
        self.kind = ""
        self._driver: Driver | None = None

    @property
    def driver(self) -> Driver:
        """Runs testScripts; only inside the block."""
        if self._driver is None:
            raise RuntimeError("the lab is not open")
        return self._driver

    def __enter__(self) -> Self:
        try:
            self._open()
        except OSError as error:
            self._close()
            raise HostenvError(f"{error.filename or self.workdir}: {error.strerror or error}") from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _open(self) -> None:
        host.check(self._choice)
        given = self._checked_substitutes()
        # what is laid into machines must be readable there, whatever the caller's own files shall be
        self._stack.callback(os.umask, os.umask(0o022))
        self._run = record.create(self.workdir)
        logs = self.workdir / "logs"
        for folder in (logs, self._output_dir):
            folder.mkdir(parents=True, exist_ok=True)
        sink = FileSink(logs / "driver.log")
        self._stack.callback(sink.close)
        log = Log(sink, *([self._on_event] if self._on_event else []))
        group = self._run.group()
        self._stack.callback(self._remove_machines, group)
        tools = group.open("tools")
        try:
            with log.nested("preparing the image"):
                base = image.ensure(self._description.image, log.info, tools)
        except image.BuildFailed as error:
            for text in error.output.splitlines():
                log.emit(Event("output", text))
            raise HostenvError(f"{error}; driver.log has all of its output") from error
        kind, kvm = host.choose(self._choice, base, tools)
        acceleration = (KVM if kvm else EMULATION) if kind == "vm" else None
        self.kind = _named(kind, kvm)
        log.info(f"machines: {self.kind}")
        if acceleration:
            with log.nested("preparing the image's disk"):
                image.ensure_disk(base, log.info, tools)
        require_space(self.workdir, _NEEDED_MIB[kind])
        network = Network.open(group)
        self._stack.callback(network.close)
        setting = Setting(
            log=log,
            logs_dir=logs,
            output_dir=self._output_dir,
            timeout_factor=acceleration.timeout_factor if acceleration else 1.0,
            before_command=self._check_conditions,
        )
        with log.nested("preparing the machines"):
            machines = self._make_machines(base, acceleration, given, setting, network, group, tools)
        for machine in machines:
            self._stack.callback(machine.release)
        forwards = Forwards(self.workdir)
        self._stack.callback(forwards.close)
        forwards.open(
            self._description.ports,
            self._description.sockets,
            {machine.name: machine for machine in machines},
            network,
        )
        self.endpoints = forwards.endpoints
        for name, endpoint in forwards.endpoints.items():
            log.info(f"{name} will answer at {endpoint}")
        self._driver = Driver(machines, log, setting.timeout_factor)

    def _close(self) -> None:
        # a second Ctrl-C must not leave half of it
        with undisturbed():
            self._driver = None
            self._stack.close()

    def _remove_machines(self, group: ControlGroup) -> None:
        group.kill()
        shutil.rmtree(self.workdir / "machines", ignore_errors=True)

    def _check_conditions(self) -> None:
        if self._driver is not None:
            self._driver.check_conditions()

    def _checked_substitutes(self) -> dict[str, Path]:
        checked = {}
        for name, path in self._given.items():
            if name not in self._description.substitutes:
                raise HostenvError(f"the description has no substitute {name!r}")
            checked[name] = check_substitute(self._description.substitutes[name], path, self.workdir)
        return checked

    def _make_machines(
        self,
        base: image.Image,
        acceleration: Acceleration | None,
        given: Mapping[str, Path],
        setting: Setting,
        network: Network,
        group: ControlGroup,
        tools: Sequence[Path],
    ) -> list[BaseMachine]:
        made: dict[str, BaseMachine] = {}

        def make(described: MachineDescription) -> None:
            layer = Layer(base.root, self.workdir / "machines" / described.name, tools)
            layer.fill(described, self._description, given, vm=acceleration is not None)
            if acceleration is None:
                made[described.name] = ContainerMachine(
                    described, setting, layer, base.root, network, group, self._run.run_id
                )
                return
            guest = VirtualMachine(described, setting, layer, base, network, group, acceleration)
            guest.prepare(tools)
            made[described.name] = guest

        for _, error in in_parallel(make, self._description.machines):
            raise error
        return [made[described.name] for described in self._description.machines]


@contextlib.contextmanager
def ending_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does: a Lab inside closes, then KeyboardInterrupt.

    The first one counts. Later ones, up to the end of the process, are ignored: it is already ending.
    """
    ending = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal ending
        if not ending:
            ending = True
            raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_IGN if ending else handler)


def _named(kind: str, kvm: bool) -> str:
    if kind == "container":
        return "containers"
    return "VMs with KVM" if kvm else "VMs with software emulation"
