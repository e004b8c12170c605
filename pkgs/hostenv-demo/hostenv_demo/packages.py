"""Installs what the demo needs on this host, or says how."""

import os
import shutil
from collections.abc import Callable

from hostenv_core.errors import HostenvError
from hostenv_lab.host import Choice, required_packages
from hostenv_lab.run import ask_to_install, run_visibly

_INSTALL_TIMEOUT = 900


def ensure(machines: Choice, extra: tuple[str, ...], tell: Callable[[str], None]) -> None:
    """Install the Debian packages that this host lacks, telling so first.

    Raises HostenvError with the exact command where it may not, or where there is no apt.
    """
    missing = sorted({*required_packages(machines), *extra})
    command = ask_to_install(missing)
    if os.geteuid() != 0:
        more = f"; it then also installs what this host lacks: {command}" if missing else ""
        raise HostenvError(f"needs root for machines (mounts, namespaces, network): start it as root{more}")
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise HostenvError(f"this host lacks {', '.join(missing)}, and has no apt; on Debian: {command}")
    count = f"{len(missing)} package{'s' if len(missing) > 1 else ''}"
    tell(f"installing {count} that the demo needs: {', '.join(missing)}")
    for step in (["apt-get", "update", "-qq"], [*command.split(), "-y", "-qq"]):
        # the package manager's own words stay visible: it may take minutes, and it may fail in many ways
        if status := run_visibly(step, timeout=_INSTALL_TIMEOUT, DEBIAN_FRONTEND="noninteractive"):
            raise HostenvError(f"{' '.join(step)} ended with status {status}; see its own message above")
