"""A machine as a testScript sees it: the part that containers and VMs share.

Names, arguments and what fails how are the NixOS test driver's; see its manual. Limits are seconds of a
machine at full speed: a machine that is emulated multiplies them by its `timeout_factor`.
"""

import abc
import base64
import contextlib
import io
import re
import shlex
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from hostenv_lab import run
from hostenv_lab.description import MachineDescription
from hostenv_lab.errors import MachineError, RequestedAssertionFailed
from hostenv_lab.log import Event, Log

DEFAULT_TIMEOUT = 900
_UNPACK_TIMEOUT = 600
_FIRST_PAUSE = 0.1
_UNIT_LINE = re.compile(r"^([^=]+)=(.*)$")


@dataclass(frozen=True)
class Result:
    """What a command in a machine left. `status` is its exit status, 124 at its time limit."""

    status: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class Setting:
    """What machines of one run share. `output_dir` receives what `copy_from_machine` fetches."""

    log: Log
    logs_dir: Path
    output_dir: Path
    timeout_factor: float
    before_command: Callable[[], None]


class RetryCondition(Protocol):
    """A function that `retry` calls; `last` is true at the final attempt."""

    def __call__(self, last: bool, /) -> bool: ...


def retry(condition: RetryCondition, timeout: float) -> None:
    """Call a function until it returns true, at most for `timeout` seconds.

    That is every second, and more often at the beginning, for most of what is waited for comes soon. Raises
    RequestedAssertionFailed if a final attempt after the limit returns false too.
    """
    limit = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while time.monotonic() < limit:
        began = time.monotonic()
        if condition(False):
            return
        time.sleep(max(0.0, min(began + pause, limit) - time.monotonic()))
        pause = min(2 * pause, 1.0)
    if not condition(True):
        raise RequestedAssertionFailed(f"action timed out after {timeout:.0f} seconds")


def parse_properties(text: str) -> dict[str, str]:
    """The `Key=value` lines of `systemctl show`."""
    return {m[1]: m[2] for m in map(_UNIT_LINE.match, text.splitlines()) if m}


class BaseMachine(abc.ABC):
    """One machine; subclasses know how it is started and how a command reaches it."""

    def __init__(self, description: MachineDescription, setting: Setting) -> None:
        self.name = description.name
        self.number = description.number
        self.timeout_factor = setting.timeout_factor
        self.log_file = setting.logs_dir / f"{self.name}.log"
        self._setting = setting
        self._allow_reboot = False
        # one command at a time, also when stages run in threads
        self._lock = threading.RLock()

    # -- life -----------------------------------------------------------------------------------------------

    def start(self, allow_reboot: bool = False) -> None:
        """Start the machine if it is not running, and return before it has booted.

        `allow_reboot`: whether `reboot` may be used. Raises MachineError.
        """
        if self.is_up():
            return
        self._clean_up()
        self._allow_reboot = allow_reboot
        with self.nested("starting"):
            self._start()

    def shutdown(self) -> None:
        """Power off in an orderly way and wait for the end; nothing if it is not running."""
        if self.is_up():
            with self.nested("waiting for the shutdown"), self._lock:
                self._power_off()
                self.wait_for_shutdown()

    def wait_for_shutdown(self, timeout: int | None = None) -> None:
        """Wait until the machine is off. Raises MachineError at the limit."""
        if not self._was_started():
            return
        limit = self._scaled(timeout or DEFAULT_TIMEOUT)
        if not self._wait_off(limit):
            raise MachineError(f"{self.name} is not off after {limit:.0f} seconds; see {self.log_file}")
        self._clean_up()

    def crash(self) -> None:
        """Cut the power. What was written to disk stays; nothing if it is not running."""
        if self.is_up():
            self.log("forced crash")
            self._cut_power()
            self._clean_up()

    def reboot(self) -> None:
        """Reboot in an orderly way; the next command waits until the machine is back.

        Raises MachineError unless it was started with `allow_reboot=True`.
        """
        if not self._allow_reboot:
            raise MachineError(
                f"{self.name}: start(allow_reboot=True) first, or reboot() would switch it off"
            )
        with self.nested("rebooting"), self._lock:
            self._connect()
            self._reboot()

    def block(self) -> None:
        """Take the machine off the network, as if its cable were out."""
        self._connect()
        self._set_link(False)

    def unblock(self) -> None:
        """Put the cable back."""
        self._connect()
        self._set_link(True)

    def release(self) -> None:
        """End the machine, whatever it does."""
        self._clean_up()

    @abc.abstractmethod
    def is_up(self) -> bool:
        """Whether the machine's process is running."""

    # -- commands -------------------------------------------------------------------------------------------

    def execute(
        self,
        command: str,
        check_return: bool = True,
        check_output: bool = True,
        timeout: int | None = DEFAULT_TIMEOUT,
    ) -> tuple[int, str]:
        """Run a command by bash under `set -euo pipefail`, as root; returns exit status and standard output.

        Waits until standard output is closed. Standard error goes to the log. Starts the machine if needed.
        Without `check_return` the status is -1, without `check_output` it is -2 and nothing is waited for.
        At the limit the command is ended and the status is 124. Raises MachineError.
        """
        self._setting.before_command()
        self._connect()
        full = f"set -euo pipefail; {command}"
        with self._lock:
            if not check_output:
                self._detach(full)
                return (-2, "")
            result = self._run(full, None if timeout is None else self._scaled(timeout))
        self._show(result.stderr)
        status = result.status if check_return else -1
        return (status, result.stdout.decode("utf-8", "replace"))

    def succeed(self, *command: str, timeout: int | None = None) -> str:
        """Run commands that must succeed; returns their joined output. Raises RequestedAssertionFailed."""
        return self._demand(command, True, timeout)

    def fail(self, *command: str, timeout: int | None = None) -> str:
        """Run commands that must fail; returns their joined output. Raises RequestedAssertionFailed."""
        return self._demand(command, False, timeout)

    def wait_until_succeeds(self, command: str, timeout: int = DEFAULT_TIMEOUT) -> str:
        """Repeat a command until it succeeds. Raises RequestedAssertionFailed at the limit."""
        return self._await(command, True, timeout)

    def wait_until_fails(self, command: str, timeout: int = DEFAULT_TIMEOUT) -> str:
        """Repeat a command until it fails. Raises RequestedAssertionFailed at the limit."""
        return self._await(command, False, timeout)

    def sleep(self, secs: int) -> None:
        """Let that many seconds pass in the machine."""
        self.succeed(f"sleep {secs}")

    # -- units ----------------------------------------------------------------------------------------------

    def systemctl(self, q: str, user: str | None = None) -> tuple[int, str]:
        """Run `systemctl` with these arguments, of the system or of a user."""
        if user is None:
            return self.execute(f"systemctl {q}")
        command = f"XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user {q}"
        return self.execute(f"su -l {shlex.quote(user)} --shell /bin/sh -c {shlex.quote(command)}")

    def get_unit_info(self, unit: str, user: str | None = None) -> dict[str, str]:
        """All properties of a unit. Raises RequestedAssertionFailed if they cannot be had."""
        status, lines = self.systemctl(f'--no-pager show "{unit}"', user)
        if status != 0:
            raise RequestedAssertionFailed(
                f'retrieving systemctl info for unit "{unit}"{_under(user)} failed with exit code {status}'
            )
        return parse_properties(lines)

    def get_unit_property(self, unit: str, property: str, user: str | None = None) -> str:
        """One property of a unit. Raises RequestedAssertionFailed if it cannot be had."""
        status, lines = self.systemctl(f'--no-pager show "{unit}" --property="{property}"', user)
        found = parse_properties(lines)
        if status != 0 or property not in found:
            raise RequestedAssertionFailed(
                f'retrieving systemctl property "{property}" for unit "{unit}"{_under(user)}'
                f" failed with exit code {status}"
            )
        return found[property]

    def wait_for_unit(self, unit: str, user: str | None = None, timeout: int = DEFAULT_TIMEOUT) -> None:
        """Wait until a unit is active.

        Raises RequestedAssertionFailed at the limit, and at once when it is failed or inactive without a job.
        """

        def active(_last: bool) -> bool:
            state = self.get_unit_property(unit, "ActiveState", user)
            if state == "failed":
                raise RequestedAssertionFailed(f'unit "{unit}"{_under(user)} reached state "{state}"')
            if state == "inactive":
                _, jobs = self.systemctl("list-jobs --full 2>&1", user)
                # looked at again: the job may have ended well between the two commands
                if "No jobs" in jobs and self.get_unit_property(unit, "ActiveState", user) == state:
                    raise RequestedAssertionFailed(
                        f'unit "{unit}"{_under(user)} is inactive and there are no pending jobs'
                    )
            return state == "active"

        with self.nested(f"waiting for unit {unit}{_under(user)}"):
            retry(active, self._scaled(timeout))

    def require_unit_state(self, unit: str, require_state: str = "active") -> None:
        """Demand that a unit is in this state now. Raises RequestedAssertionFailed."""
        with self.nested(f"checking if unit '{unit}' has reached state '{require_state}'"):
            state = self.get_unit_property(unit, "ActiveState")
            if state != require_state:
                raise RequestedAssertionFailed(
                    f"Expected unit '{unit}' to to be in state '{require_state}' but it is in state '{state}'"
                )

    def start_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """Start a unit."""
        return self.systemctl(f"start {jobname}", user)

    def stop_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """Stop a unit."""
        return self.systemctl(f"stop {jobname}", user)

    # -- ports and files ------------------------------------------------------------------------------------

    def wait_for_open_port(self, port: int, addr: str = "localhost", timeout: int = DEFAULT_TIMEOUT) -> None:
        """Wait until something listens on a TCP port."""
        with self.nested(f"waiting for TCP port {port} on {addr}"):
            self._await(f"nc -z {addr} {port}", True, timeout, quiet=True)

    def wait_for_closed_port(
        self, port: int, addr: str = "localhost", timeout: int = DEFAULT_TIMEOUT
    ) -> None:
        """Wait until nothing listens on a TCP port."""
        with self.nested(f"waiting for TCP port {port} on {addr} to be closed"):
            self._await(f"nc -z {addr} {port}", False, timeout, quiet=True)

    def wait_for_open_unix_socket(
        self, addr: str, is_datagram: bool = False, timeout: int = DEFAULT_TIMEOUT
    ) -> None:
        """Wait until something listens on a Unix socket."""
        flags = "-zuU" if is_datagram else "-zU"
        with self.nested(f"waiting for unix-{'datagram' if is_datagram else 'stream'} on '{addr}'"):
            self._await(f"nc {flags} {shlex.quote(addr)}", True, timeout, quiet=True)

    def wait_for_file(self, filename: str, timeout: int = DEFAULT_TIMEOUT) -> None:
        """Wait until a file exists."""
        with self.nested(f"waiting for file '{filename}'"):
            self._await(f"test -e {filename}", True, timeout, quiet=True)

    def copy_from_host(self, source: str, target: str) -> None:
        """Copy a file or folder of this host to a path in the machine."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(source, "content")
        place = shlex.quote(target)
        unpack = (
            'here=$(mktemp -d) && tar -C "$here" --no-same-owner -x'
            f' && mkdir -p "$(dirname {place})" && cp -rT "$here/content" {place} && rm -rf "$here"'
        )
        self._connect()
        with self.nested(f"copying {source} to {target}"), self._lock:
            result = self._send(packed.getvalue(), f"set -euo pipefail; {unpack}")
        if result.status != 0:
            self._show(result.stderr)
            raise MachineError(
                f"{self.name}: copying {source} to {target} failed (exit code {result.status})"
            )

    def copy_from_machine(self, source: str, target_dir: str = "") -> None:
        """Copy a file or folder of the machine into a folder below the run's output folder."""
        path = Path(source)
        with self.nested(f"copying {source} from the machine"):
            pack = f"tar -C {shlex.quote(str(path.parent))} -c {shlex.quote(path.name)} | base64 -w 0"
            packed = base64.b64decode(self._demand((pack,), True, None))
            target = self._setting.output_dir / target_dir
            target.mkdir(parents=True, exist_ok=True)
            # by tar, which lets nothing out of the target: Debian 12's Python has no extraction filters
            unpack = ["tar", "-C", str(target), "--no-same-owner", "--no-same-permissions", "-x"]
            run.run(unpack, stdin=packed, timeout=_UNPACK_TIMEOUT)

    # -- for people -----------------------------------------------------------------------------------------

    def log(self, msg: str) -> None:
        """Say something about this machine."""
        self._setting.log.info(f"{self.name}: {msg}")

    @contextlib.contextmanager
    def nested(self, msg: str) -> Iterator[None]:
        """Say that something begins on this machine, and when it has ended."""
        with self._setting.log.nested(f"{self.name}: {msg}"):
            yield

    def get_console_log(self) -> str:
        """Everything that the machine's console said since its first boot."""
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    # -- what a kind of machine must know -------------------------------------------------------------------

    @abc.abstractmethod
    def open_unix(self, path: str) -> socket.socket:
        """Connect from this host to a Unix socket in the machine. Raises OSError."""

    @abc.abstractmethod
    def _was_started(self) -> bool:
        """Whether a process was started that nobody has said farewell to; it may have ended by itself."""

    @abc.abstractmethod
    def _start(self) -> None:
        """Start the machine's process."""

    @abc.abstractmethod
    def _connect(self) -> None:
        """Start the machine if needed and wait until commands reach it. Raises MachineError."""

    @abc.abstractmethod
    def _run(self, command: str, timeout: float | None) -> Result:
        """Run a bash command to its end. Raises MachineError."""

    @abc.abstractmethod
    def _detach(self, command: str) -> None:
        """Start a bash command and do not wait for it. Raises MachineError."""

    @abc.abstractmethod
    def _send(self, content: bytes, command: str) -> Result:
        """Run a bash command with this standard input. Raises MachineError."""

    @abc.abstractmethod
    def _power_off(self) -> None:
        """Begin an orderly shutdown."""

    @abc.abstractmethod
    def _wait_off(self, timeout: float) -> bool:
        """Wait until the machine's process has ended; false at the limit."""

    @abc.abstractmethod
    def _cut_power(self) -> None:
        """End the machine at once."""

    @abc.abstractmethod
    def _reboot(self) -> None:
        """Begin an orderly reboot."""

    @abc.abstractmethod
    def _clean_up(self) -> None:
        """Release what belongs to a machine that has ended."""

    @abc.abstractmethod
    def _set_link(self, up: bool) -> None:
        """Take the machine's interface down or up."""

    # -- shared parts ---------------------------------------------------------------------------------------

    def _start_if_off(self) -> None:
        # a machine that ended by itself must not come back unseen
        if self._was_started() and not self.is_up():
            raise MachineError(f"{self.name} ended by itself; see {self.log_file}")
        self.start(self._allow_reboot)

    def _scaled(self, timeout: float) -> float:
        return timeout * self.timeout_factor

    def _demand(self, commands: tuple[str, ...], success: bool, timeout: int | None) -> str:
        output = ""
        for command in commands:
            with self.nested(f"must {'succeed' if success else 'fail'}: {command}"):
                status, out = self.execute(command, timeout=timeout)
                if (status == 0) != success:
                    self.log(f"output: {out}")
                    outcome = f"failed (exit code {status})" if success else "unexpectedly succeeded"
                    raise RequestedAssertionFailed(f"{self.name}: command `{command}` {outcome}")
                output += out
        return output

    def _await(self, command: str, success: bool, timeout: int, quiet: bool = False) -> str:
        output = ""

        def attempt(_last: bool) -> bool:
            nonlocal output
            status, output = self.execute(command, timeout=timeout)
            return (status == 0) == success

        word = "success" if success else "failure"
        around = contextlib.nullcontext() if quiet else self.nested(f"waiting for {word}: {command}")
        with around:
            try:
                retry(attempt, self._scaled(timeout))
            except RequestedAssertionFailed as error:
                raise RequestedAssertionFailed(
                    f"{self.name}: no {word} of `{command}` within {self._scaled(timeout):.0f} seconds"
                ) from error
        return output

    def _show(self, stderr: bytes) -> None:
        for text in stderr.decode("utf-8", "replace").splitlines():
            self._setting.log.emit(Event("output", f"{self.name} # {text}"))


def _under(user: str | None) -> str:
    return f' under user "{user}"' if user else ""


Kind = Literal["container", "vm"]
