"""Installs what the demo needs on this host, or says how."""

import os
import shutil
import subprocess

from hostenv_lab.errors import HostenvError
from hostenv_lab.host import Choice, required_packages
from hostenv_lab.run import ask_to_install

_INSTALL_TIMEOUT = 900


def ensure(machines: Choice, extra: tuple[str, ...] = ()) -> None:
    """Install the Debian packages that this host lacks.

    Raises HostenvError with the exact command where it may not, or where there is no apt.
    """
    missing = sorted({*required_packages(machines), *extra})
    if not missing:
        return
    command = ask_to_install(missing)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise HostenvError(f"this host lacks {', '.join(missing)}; install them as root: {command}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["apt-get", "update", "-qq"], [*command.split(), "-y", "-qq"]):
        # the package manager's own words stay visible: it may take minutes, and it may fail in many ways
        try:
            status = subprocess.run(step, env=environment, timeout=_INSTALL_TIMEOUT, check=False).returncode
        except subprocess.TimeoutExpired:
            raise HostenvError(f"{' '.join(step)} did not end within {_INSTALL_TIMEOUT} s") from None
        if status:
            raise HostenvError(f"{' '.join(step)} ended with status {status}; see its own message above")
