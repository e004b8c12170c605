"""`python3 nixos_driver.py FOLDER`: plays the NixOS test driver, with the lab's containers as its machines.

It gives a script the driver's names and ways: machines that exist before they run, a logger that passes all
on to a list of loggers, errors of a module `test_driver`, messages on standard error.
"""

import base64
import contextlib
import dataclasses
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from hostenv_demo.demo import DESCRIPTION
from hostenv_lab import description
from hostenv_lab import driver as lab_driver
from hostenv_lab.lab import Lab
from hostenv_lab.log import Log

# MiB that the machines are said to take
MEMORY = 64


class MachineError(Exception):
    """As in the driver, no error of ours."""


def free(port: description.PortForward) -> description.PortForward:
    with socket.socket() as probe:
        probe.bind((port.address, 0))
        return dataclasses.replace(port, port=probe.getsockname()[1])


class Logger:
    def __init__(self) -> None:
        self.logger_list: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        def all_of_them(*arguments: str) -> None:
            print(f"{name}: {' '.join(arguments)}", file=sys.stderr)
            for logger in self.logger_list:
                getattr(logger, name)(*arguments)

        return all_of_them

    @contextlib.contextmanager
    def nested(self, message: str) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for logger in self.logger_list:
                stack.enter_context(logger.nested(message, {}))
            yield


class Machine:
    """Exists before it runs; its commands are the lab's machine's."""

    def __init__(self, driver: "Driver", name: str) -> None:
        self.name = name
        self.out_dir = Path("/nonexistent")
        self._driver = driver

    def is_up(self) -> bool:
        return self._driver.started and self._real().is_up()

    def copy_from_machine(self, source: str) -> None:
        (self.out_dir / Path(source).name).write_bytes(
            base64.b64decode(self._real().succeed(f"base64 {source}"))
        )

    def release(self) -> None:
        if self._driver.started:
            self._real().release()

    def __getattr__(self, name: str) -> Any:
        if not self._driver.started:
            raise MachineError(f"{self.name} does not run")
        return getattr(self._real(), name)

    def _real(self) -> Any:
        return next(each for each in self._driver.lab.driver.machines if each.name == self.name)


class Driver:
    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        described = description.load(DESCRIPTION)
        described = dataclasses.replace(described, ports=tuple(map(free, described.ports)))
        self.endpoints = {
            port.name: f"{port.scheme}://{port.address}:{port.port}" for port in described.ports
        }
        self.started = False
        self.lab = Lab(described, folder, "container")
        self.logger = Logger()
        self.machines = [Machine(self, machine.name) for machine in described.machines]
        self._stack = stack

    def start_all(self) -> None:
        with self.logger.nested("start all VMs"):
            self._stack.enter_context(self.lab)
            self.lab.driver.start_all()
            self.started = True
            for machine in self.machines:
                self.logger.log_serial(f"{machine.name} login:", machine.name)

    @contextlib.contextmanager
    def subtest(self, name: str) -> Iterator[None]:
        print(f"subtest: {name}", file=sys.stderr)
        yield

    def names(self) -> dict[str, Any]:
        return {
            **lab_driver.Driver([], Log(), 1.0).names(),
            "driver": self,
            "log": self.logger,
            "machines": self.machines,
            "start_all": self.start_all,
            "subtest": self.subtest,
            **{lab_driver.pythonize(machine.name): machine for machine in self.machines},
        }


def main() -> None:
    errors = ModuleType("test_driver.errors")
    errors.MachineError = MachineError  # type: ignore[attr-defined]
    sys.modules["test_driver"] = ModuleType("test_driver")
    sys.modules["test_driver.errors"] = errors

    print("run the VM test script", file=sys.stderr)
    with contextlib.ExitStack() as stack:
        driver = Driver(Path(sys.argv[1]), stack)
        script = f"from hostenv_demo import nixos\nnixos.guide(globals(), endpoints, {MEMORY})\n"
        try:
            exec(script, {**driver.names(), "endpoints": driver.endpoints})
        finally:
            # as the driver does, and it ends nothing if it cannot say so
            print("cleanup", file=sys.stderr, flush=True)
            print("cleanup", flush=True)
            (Path.cwd() / "cleaned-up").touch()
    raise SystemExit("the wizard returned")


if __name__ == "__main__":
    main()
