"""What this host can do: the packages it lacks, and which kind of machine it really runs."""

import functools
import os
import select
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from hostenv_core import processes
from hostenv_core.errors import HostenvError

from hostenv_lab import kvm, run
from hostenv_lab.image import Image
from hostenv_lab.machine import Kind
from hostenv_lab.vm import KVM

Choice = Literal["auto", "vm", "container"]
CHOICES: tuple[Choice, ...] = ("auto", "vm", "container")

# program -> Debian package
_IMAGE_TOOLS = {"mmdebstrap": "mmdebstrap", "unshare": "util-linux", "tar": "tar"}
_NETWORK_TOOLS = {"ip": "iproute2", "nsenter": "util-linux"}
_TOOLS: dict[Kind, dict[str, str]] = {
    "container": {"systemd-nspawn": "systemd-container"},
    "vm": {"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "mkfs.ext4": "e2fsprogs"},
}
_KVM_DEVICE = Path("/dev/kvm")
_PROBE_TIMEOUT = 6.0
_FIRST_LINE = b"Linux version"
_FIRST_LINE_WITHIN = 6.0


def required_packages(choice: Choice) -> list[str]:
    """The Debian packages that this host lacks for these machines, sorted.

    `auto` asks for what a VM needs only where KVM runs a guest of one instruction.
    """
    kinds: tuple[Kind, ...] = ("container", "vm")
    if choice != "auto":
        kinds = (choice,)
    elif not kvm_may_work():
        kinds = ("container",)
    wanted = _IMAGE_TOOLS | _NETWORK_TOOLS
    for kind in kinds:
        wanted = wanted | _TOOLS[kind]
    search = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    missing = {package for program, package in wanted.items() if not shutil.which(program, path=search)}
    if not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists():
        missing.add("debian-archive-keyring")
    return sorted(missing)


def check(choice: Choice) -> None:
    """Refuse what cannot work. Raises HostenvError naming the reason and the command that helps."""
    if os.geteuid() != 0:
        raise HostenvError("machines need root: run this as root (mounts, namespaces, network)")
    if missing := required_packages(choice):
        raise HostenvError(f"programs are missing: run: {run.ask_to_install(missing)}")


def choose(choice: Choice, image: Image, groups: Sequence[Path] = ()) -> tuple[Kind, bool]:
    """The kind of machine to use, and whether with KVM: by itself VMs with KVM, else containers."""
    if choice == "container":
        return "container", False
    if kvm_works(image, groups):
        return "vm", True
    return ("vm", False) if choice == "vm" else ("container", False)


def kvm_works(image: Image, groups: Sequence[Path] = ()) -> bool:
    """Whether a guest says something with KVM. `/dev/kvm` may open, make a VM, and still not run one."""
    if not kvm_may_work():
        return False
    with tempfile.TemporaryFile() as console:
        command = [
            "qemu-system-x86_64",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-machine",
            "q35",
        ]
        command += [*KVM.options, "-m", "256", "-no-reboot", "-serial", "stdio"]
        command += ["-kernel", str(image.kernel), "-append", "console=ttyS0 panic=-1"]
        process = processes.start(run.in_groups(groups, command), stderr=console)
        assert process.stdout is not None
        said = b""
        limit = time.monotonic() + _FIRST_LINE_WITHIN
        try:
            while _FIRST_LINE not in said and (left := limit - time.monotonic()) > 0:
                if select.select([process.stdout], [], [], left)[0]:
                    if not (part := os.read(process.stdout.fileno(), 4096)):
                        break
                    said += part
        finally:
            processes.kill(process)
        return _FIRST_LINE in said


def kvm_may_work() -> bool:
    """Whether KVM runs a guest of one instruction, which costs nothing; `kvm_works` knows better."""
    return os.access(_KVM_DEVICE, os.R_OK | os.W_OK) and _guest_runs(_KVM_DEVICE)


@functools.cache
def _guest_runs(device: Path) -> bool:
    probe = [sys.executable, str(Path(kvm.__file__)), str(device)]
    try:
        return run.run(probe, timeout=_PROBE_TIMEOUT, check=False).returncode == 0
    except processes.CommandFailed:
        return False
