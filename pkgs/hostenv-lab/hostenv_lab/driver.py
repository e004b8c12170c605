"""The names that a testScript finds in scope, and how it is run."""

import contextlib
import os
import re
import sys
import time
import traceback
import unittest
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, overload

from hostenv_lab.errors import MachineError, PollingConditionError, RequestedAssertionFailed, TestScriptError
from hostenv_lab.log import Log
from hostenv_lab.machine import DEFAULT_TIMEOUT, BaseMachine, RetryCondition, retry
from hostenv_lab.parallel import in_parallel

_NOT_IN_A_NAME = re.compile(r"^[^A-Za-z_]|[^A-Za-z0-9_]")


def pythonize(name: str) -> str:
    """The variable that stands for a machine: `node-a` is `node_a`."""
    return _NOT_IN_A_NAME.sub("_", name)


class _Tester(unittest.TestCase):
    failureException = RequestedAssertionFailed


class Driver:
    """What the scripts of one run share: the machines, and the functions about all of them."""

    def __init__(
        self,
        machines: Sequence[BaseMachine],
        log: Log,
        timeout_factor: float,
    ) -> None:
        self.machines = list(machines)
        self.log = log
        self._timeout_factor = timeout_factor
        self._conditions: list[PollingCondition] = []

    def names(self) -> dict[str, object]:
        """The names of a testScript, as the NixOS test driver gives them."""
        names: dict[str, object] = {
            "start_all": self.start_all,
            "join_all": self.join_all,
            "machines": self.machines,
            "driver": self,
            "log": self.log,
            "os": os,
            "subtest": self.subtest,
            "retry": self.retry,
            "polling_condition": self.polling_condition,
            "t": _Tester(),
            "BaseMachine": BaseMachine,
        }
        names |= {pythonize(machine.name): machine for machine in self.machines}
        if len(self.machines) == 1:
            names["machine"] = self.machines[0]
        return names

    def run_script(self, path: Path, **replaced: object) -> None:
        """Run a testScript, with `replaced` in place of the driver's own names. Raises whatever it raises.

        It may import what lies beside it, besides what is installed.
        """
        names = self.names() | replaced
        names["test_script"] = lambda: self.run_script(path)
        before = list(sys.path)
        sys.path.insert(0, str(path.parent))
        try:
            exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
        finally:
            sys.path[:] = before

    def start_all(self) -> None:
        """Start every machine, all at once. Raises MachineError naming those that did not start."""
        with self.log.nested("start all machines"):
            failed = in_parallel(lambda machine: machine.start(), self.machines)
        if failed:
            reasons = "; ".join(sorted(f"{machine.name}: {error}" for machine, error in failed))
            raise MachineError(f"machines did not start: {reasons}")

    def join_all(self) -> None:
        """Wait until every machine is off."""
        with self.log.nested("wait for all machines to shut down"):
            for machine in self.machines:
                if machine.is_up():
                    machine.wait_for_shutdown()

    def subtest(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Group commands under a name."""
        return self._subtest(name)

    def retry(self, fn: RetryCondition, timeout_seconds: int = DEFAULT_TIMEOUT) -> None:
        """Call `fn(last)` until it is true, in the end once a second.

        Raises RequestedAssertionFailed at the limit.
        """
        retry(fn, timeout_seconds * self._timeout_factor)

    @overload
    def polling_condition(self, fun: Callable[[], bool | None]) -> "PollingCondition": ...
    @overload
    def polling_condition(
        self, *, seconds_interval: float = 2.0, description: str | None = None
    ) -> "Callable[[Callable[[], bool | None]], PollingCondition]": ...
    def polling_condition(
        self,
        fun: Callable[[], bool | None] | None = None,
        *,
        seconds_interval: float = 2.0,
        description: str | None = None,
    ) -> "PollingCondition | Callable[[Callable[[], bool | None]], PollingCondition]":
        """Make a condition of a function: `with condition:` fails the test once the function is false.

        It is looked at before each command of a machine, at most every `seconds_interval` seconds.
        """

        def decorate(function: Callable[[], bool | None]) -> PollingCondition:
            return PollingCondition(self, function, seconds_interval, description)

        return decorate if fun is None else decorate(fun)

    def check_conditions(self) -> None:
        """Look at the conditions that must hold now. Raises PollingConditionError."""
        for condition in list(self._conditions):
            condition.check()

    @contextlib.contextmanager
    def holding(self, condition: "PollingCondition") -> Iterator[None]:
        """Demand a condition while the block runs."""
        self._conditions.append(condition)
        try:
            yield
        finally:
            self._conditions.remove(condition)

    @contextlib.contextmanager
    def _subtest(self, name: str) -> Iterator[None]:
        with self.log.stage(name):
            try:
                yield
            except Exception as error:
                self.log.warning(f'subtest "{name}" failed: {error}')
                raise


class PollingCondition:
    """A function that must stay true; made by `Driver.polling_condition`."""

    def __init__(
        self, driver: Driver, function: Callable[[], bool | None], interval: float, description: str | None
    ) -> None:
        self._driver = driver
        self._function = function
        self._interval = interval
        self._description = description or (function.__doc__ or function.__name__).strip()
        self._checked = -interval
        self._checking = False
        self._held = contextlib.ExitStack()

    def check(self, force: bool = False) -> None:
        """Look whether it holds, unless that was done lately. Raises PollingConditionError."""
        # the function itself may use machines, whose commands look at all conditions
        if self._checking or (not force and time.monotonic() - self._checked < self._interval):
            return
        if not self._holds():
            raise PollingConditionError(f"polling condition failed: {self._description}")

    def wait(self, timeout: int = DEFAULT_TIMEOUT) -> None:
        """Wait until it holds. Raises RequestedAssertionFailed at the limit."""
        with self._driver.log.nested(f"waiting for {self._description}"):
            self._driver.retry(lambda _last: self._holds(), timeout)

    def _holds(self) -> bool:
        self._checking = True
        try:
            # a function that only raises when it is not so returns None
            return self._function() is not False
        finally:
            self._checking = False
            self._checked = time.monotonic()

    def __enter__(self) -> Self:
        self._held.enter_context(self._driver.holding(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.close()
        if error is None:
            self.check(force=True)


def explain(error: BaseException, script: Path) -> str:
    """The error of a testScript with the script's own lines only; of anything else, all of it."""
    if not isinstance(error, TestScriptError | AssertionError):
        return "".join(traceback.format_exception(error)).rstrip()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(script)]
    return "".join([*traceback.format_list(frames), f"{type(error).__name__}: {error}"])
