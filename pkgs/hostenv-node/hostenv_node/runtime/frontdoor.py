"""The node's system nginx: one file per environment, tested before it counts (contract 8)."""

import os
import socket
import time
from pathlib import Path

from hostenv_core.files import remove_durably, write_durably
from hostenv_core.processes import CommandFailed, run

from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment.entry import Environment
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.render.nginx import PROBE_PATH, default_server, front_door
from hostenv_node.runtime.run_dirs import front_door_gid

NGINX_CONF = Path("/etc/nginx/nginx.conf")
DEFAULT_FILE = "default.conf"
"""No environment's: their names end in a hash."""

_PROBE_SECONDS = 30
_POLL_SECONDS = 0.1
# For a moment after a reload, workers with the old and with the new configuration answer in turn.
_AGREEING_PROBES = 3


class FrontDoor:
    """The files below `nginx/` of the node's state and the nginx that includes them."""

    def __init__(self, config: Config, nginx_conf: Path = NGINX_CONF) -> None:
        self.config = config
        self.nginx_conf = nginx_conf

    def serve(self, environment: Environment, layout: Layout, deadline: Deadline) -> None:
        """Serve the environment's host names, and wait until they are.

        Raises OperationFailed when nginx does not take the file, which is then taken back.
        """
        self._change(environment.user, front_door(environment, layout, self.config.front_door_port), deadline)
        self._wait(environment.hostname, deadline, served=True)

    def withdraw(self, user: str, hostname: str, deadline: Deadline) -> None:
        """Stop serving the environment; checks that nobody answers to its host name (contract 10.6)."""
        self._change(user, None, deadline)
        self._wait(hostname, deadline, served=False)

    def write(self, wanted: dict[str, str]) -> None:
        """Make the folder hold these files (by user), the default server and no other; nginx is not told."""
        directory = self._own_folder()
        texts = {f"{user}.conf": text for user, text in wanted.items()}
        texts[DEFAULT_FILE] = default_server(self.config.front_door_port)
        for path in directory.glob("*.conf"):
            if path.name not in texts:
                remove_durably(path)
        for name, text in texts.items():
            _write_if_different(directory / name, text.encode())

    def reload_if_running(self) -> None:
        """Let an nginx that runs already read the files."""
        # It comes after the unit that boots, and so would not be reloaded before that has ended.
        argv = [self.config.tool("systemctl"), "--no-block", "try-reload-or-restart", "nginx.service"]
        run(argv, timeout=120)

    def _change(self, user: str, text: str | None, deadline: Deadline) -> None:
        path = self._own_folder() / f"{user}.conf"
        before = path.read_bytes() if path.exists() else None
        _put(path, None if text is None else text.encode())
        try:
            run(
                [self.config.tool("nginx"), "-t", "-q", "-c", str(self.nginx_conf)],
                timeout=deadline.remaining(120),
            )
        except CommandFailed as error:
            if text is None:
                # Without this environment nothing can get worse; the fault is elsewhere.
                raise OperationFailed(f"the system nginx refuses its configuration: {error}") from error
            _put(path, before)
            raise OperationFailed(f"the system nginx refuses {user}: {error}") from error
        run(
            [self.config.tool("systemctl"), "reload-or-restart", "nginx.service"],
            timeout=deadline.remaining(120),
        )

    def _own_folder(self) -> Path:
        """For nginx, which may not be root: what is served here is no environment's business."""
        directory = self.config.nginx_dir
        directory.mkdir(mode=0o750, exist_ok=True)
        os.chown(directory, -1, front_door_gid(self.config))
        directory.chmod(0o750)
        return directory

    def _wait(self, hostname: str, deadline: Deadline, *, served: bool) -> None:
        end = time.monotonic() + deadline.remaining(_PROBE_SECONDS)
        agreeing = 0
        while agreeing < _AGREEING_PROBES:
            if time.monotonic() >= end:
                state = "not served" if served else "still served"
                raise OperationFailed(f"{hostname} is {state} after nginx was reloaded; see its error log")
            time.sleep(_POLL_SECONDS)
            seen = answers(self.config.front_door_port, hostname) == served
            agreeing = agreeing + 1 if seen else 0


def answers(port: int, hostname: str) -> bool:
    """Whether this machine's front door answers to `hostname` at all; unknown ones it closes (444)."""
    request = f"HEAD {PROBE_PATH} HTTP/1.1\r\nHost: {hostname}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(request.encode())
            return bool(connection.recv(1))
    except ConnectionError:
        return False


def _put(path: Path, content: bytes | None) -> None:
    if content is None:
        remove_durably(path)
    else:
        _write_if_different(path, content)


def _write_if_different(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        write_durably(path, content, 0o644)
