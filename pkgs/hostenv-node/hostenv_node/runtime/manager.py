"""The environment's systemd user manager: lingering, starting it, and making sure that it is gone."""

from pathlib import Path

from hostenv_core.processes import run

from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed

_LINGER_DIR = Path("/var/lib/systemd/linger")


class UserManager:
    """Manager of one environment's user."""

    def __init__(self, config: Config, layout: Layout) -> None:
        self.config = config
        self.layout = layout
        self.unit = f"user@{layout.uid}.service"

    def start(self, deadline: Deadline) -> None:
        """Enable lingering and wait until the manager is ready."""
        if not self._lingers():
            self._run("loginctl", "enable-linger", self.layout.user, deadline=deadline)
        self._run("systemctl", "start", self.unit, deadline=deadline)

    def runs(self, deadline: Deadline) -> bool:
        """Whether the manager is there to be talked to; one that is starting or stopping is waited for."""
        waits = {"activating": "start", "deactivating": "stop"}
        verb = waits.get(self._state(deadline))
        if verb is not None:
            argv = [self.config.tool("systemctl"), verb, self.unit]
            run(argv, timeout=deadline.remaining(), check=False)
        return self._state(deadline) not in ("inactive", "failed")

    def stop(self, deadline: Deadline) -> None:
        """Disable lingering and stop the manager with all that it runs, so that no reboot revives it.

        Raises OperationFailed when either is still there afterwards.
        """
        if self._lingers():
            self._run("loginctl", "disable-linger", self.layout.user, deadline=deadline)
        self._run("systemctl", "stop", self.unit, deadline=deadline)
        if self._lingers():
            raise OperationFailed(
                f"{self.layout.user} still lingers; see loginctl user-status {self.layout.user}"
            )
        state = self._state(deadline)
        if state not in ("inactive", "failed"):
            raise OperationFailed(f"{self.unit} of {self.layout.user} does not stop (it is {state})")

    def _lingers(self) -> bool:
        return (_LINGER_DIR / self.layout.user).exists()

    def _state(self, deadline: Deadline) -> str:
        return self._run(
            "systemctl", "show", "--property=ActiveState", "--value", self.unit, deadline=deadline
        )

    def _run(self, tool: str, *arguments: str, deadline: Deadline) -> str:
        return run([self.config.tool(tool), *arguments], timeout=deadline.remaining()).text.strip()
