"""What nixpkgs' virtual machines can and its containers cannot, added to the driver's class for the scripts.

Imported by that driver only.
"""

import os
import signal
import subprocess
from typing import Any

from test_driver.machine import NspawnMachine

# seconds; what remains of a container that was killed is its network
_END_TIMEOUT = 60


def complete() -> None:
    """Give containers `crash`, `block` and `unblock`, and a second boot."""
    start = NspawnMachine.start

    def start_again(machine: Any, allow_reboot: bool = False) -> None:  # noqa: ARG001
        if machine.process is None:
            # it remembers the first boot's process for good, and would enter nothing, or a stranger
            machine.__dict__.pop("get_systemd_process", None)
        start(machine)

    NspawnMachine.start = start_again
    NspawnMachine.crash = _crash
    NspawnMachine.block = lambda machine: _set_link(machine, "down")
    NspawnMachine.unblock = lambda machine: _set_link(machine, "up")


def _crash(machine: Any) -> None:
    """Kill everything in the container at once. What it wrote stays, also what no disk would have yet."""
    if machine.process is None:
        return
    with machine.nested("crashing the container"):
        os.kill(machine.get_systemd_process, signal.SIGKILL)
        machine.process.wait(_END_TIMEOUT)
        machine.process = None


def _set_link(machine: Any, state: str) -> None:
    """Unplug the container's cable, or plug it in, at the other end."""
    subprocess.run(["ip", "link", "set", f"{machine.name}-eth1", state], check=True, timeout=60)
