"""What a machine has beyond the image: the product, its files, its name; laid into a copy-on-write layer."""

import os
import shutil
import time
import tomllib
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from hostenv_core.errors import HostenvError

from hostenv_lab import network, run
from hostenv_lab.description import Description, MachineDescription, Substitute
from hostenv_lab.program import write_program

# The lab's own files in a machine.
GUEST_FILES = Path(__file__).parent / "guest"
PYTHON_PACKAGES = "usr/lib/python3/dist-packages"
# Where the ordinary files of a source tree belong on a Debian machine.
_PRODUCT_FILES = {
    "systemd": "usr/lib/systemd/system",
    "sysusers.d": "usr/lib/sysusers.d",
    "tmpfiles.d": "usr/lib/tmpfiles.d",
    "nginx": "usr/share/{name}/nginx",
}
# Files that differ from machine to machine only in these words.
_TEMPLATE_SUFFIX = ".in"
_SCRIPT = """#!/usr/bin/python3
import sys

from {module} import {function}

sys.exit({function}())
"""
_FIRST_PROXY_PORT = 7101
# Only the host may use it: the socket's own permissions would not hold for other machines of the network.
_PROXY_SOCKET = """[Unit]
Description=Way from the lab's host to a socket of this machine

[Socket]
ListenStream={listen}
FreeBind=yes
IPAddressAllow={host}
IPAddressDeny=any

[Install]
WantedBy=sockets.target
"""
_PROXY_SERVICE = """[Unit]
Description=Way from the lab's host to a socket of this machine

[Service]
ExecStart=/usr/lib/systemd/systemd-socket-proxyd {path}
"""
# Runs in a root that is the image with the layer over it; the mounts end with the process.
_FINISH = """
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" "$4"
mount -t proc proc "$4/proc"
shift 3
exec chroot "$@"
"""
_FINISH_INSIDE = """
products=$1
shift
systemd-sysusers
[ $# = 0 ] || systemctl --quiet enable "$@"
[ -z "$products" ] || python3 -m compileall -q $products
"""
_TIMEOUT = 300


class Layer:
    """The upper layer of one machine, filled before its first boot, and its own disk from then on."""

    def __init__(self, image_root: Path, folder: Path, groups: Sequence[Path]) -> None:
        self._image_root = image_root
        self._folder = folder
        self._groups = groups
        self._packages: list[str] = []
        self.root = folder / "disk"
        self.work = folder / "work"
        # a VM's Unix sockets that the host reaches, by the port on which a proxy in the machine answers
        self.forward_ports: dict[str, int] = {}
        for path in (self.root, self.work, folder / "root"):
            path.mkdir(parents=True)

    def fill(
        self, machine: MachineDescription, description: Description, given: Mapping[str, Path], vm: bool
    ) -> None:
        """Lay everything that the description says about the machine.

        `given` maps names of substitutes to what is used instead of the stand-in. Raises HostenvError.
        """
        words = {"@machine@": machine.name, "@address@": network.address(machine.number)}
        for product in machine.products:
            self._add_product(product)
        self._add_tree(GUEST_FILES / "all", "/", words)
        if vm:
            self._add_tree(GUEST_FILES / "vm", "/", words)
        units = [*machine.enable, *_lab_units(vm)]
        for forward in description.sockets if vm else ():
            if forward.machine == machine.name:
                units.append(self._add_proxy(forward.guest_path, machine.number))
        for tree in machine.trees:
            self._add_tree(tree.source, tree.target, words)
        for name in machine.substitutes:
            substitute = description.substitutes[name]
            self._add_substitute(substitute, given.get(name, substitute.stand_in))
        self._add_text("/etc/hostname", f"{machine.name}\n")
        self._add_text("/etc/hosts", hosts(description.machines))
        self._add_text("/etc/machine-id", f"{uuid.uuid4().hex}\n", 0o444)
        self._finish(units)

    def _add_product(self, source: Path) -> None:
        try:
            project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            name, scripts = str(project["name"]), dict(project.get("scripts", {}))
        except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
            raise HostenvError(
                f"{source / 'pyproject.toml'}: no usable project description: {error}"
            ) from error
        package = name.replace("-", "_")
        self._packages.append(package)
        self._add_tree(source / package, f"/{PYTHON_PACKAGES}/{package}", {})
        for folder, target in _PRODUCT_FILES.items():
            if (source / folder).is_dir():
                self._add_tree(source / folder, "/" + target.format(name=name), {})
        for command, entry in scripts.items():
            module, _, function = str(entry).partition(":")
            self._add_text(f"/usr/bin/{command}", _SCRIPT.format(module=module, function=function), 0o755)

    def _add_substitute(self, substitute: Substitute, source: Path) -> None:
        target = self._target(substitute.target)
        self._make_folder(target.parent)
        if substitute.executable and source.is_dir():
            write_program(source, target)
            return
        # it may be large: Drupal has tens of thousands of files
        run.run(["cp", "-rT", str(source), str(target)], timeout=_TIMEOUT, groups=self._groups)
        mode = "a+rx" if substitute.executable else "u=rwX,go=rX"
        run.run(["chmod", "-R", mode, str(target)], timeout=_TIMEOUT, groups=self._groups)

    def _add_proxy(self, guest_path: str, number: int) -> str:
        port = _FIRST_PROXY_PORT + len(self.forward_ports)
        self.forward_ports[guest_path] = port
        unit = f"/etc/systemd/system/lab-proxy-{port}"
        listen = f"{network.address(number)}:{port}"
        self._add_text(f"{unit}.socket", _PROXY_SOCKET.format(listen=listen, host=network.HOST_ADDRESS))
        self._add_text(f"{unit}.service", _PROXY_SERVICE.format(path=guest_path))
        return f"lab-proxy-{port}.socket"

    def _add_tree(self, source: Path, target: str, words: Mapping[str, str]) -> None:
        if source.is_file():
            self._add_file(source, target, words)
            return
        for folder, names, files in os.walk(source):
            names[:] = [name for name in names if name not in ("__pycache__", ".git")]
            below = os.path.relpath(folder, source)
            here = target if below == "." else f"{target.rstrip('/')}/{below}"
            self._make_folder(self._target(here))
            for name in files:
                self._add_file(Path(folder) / name, f"{here.rstrip('/')}/{name}", words)
            for name in [name for name in names if (Path(folder) / name).is_symlink()]:
                self._target(f"{here.rstrip('/')}/{name}").symlink_to(os.readlink(Path(folder) / name))

    def _add_file(self, source: Path, target: str, words: Mapping[str, str]) -> None:
        mode = 0o755 if source.stat(follow_symlinks=False).st_mode & 0o100 else 0o644
        if source.is_symlink():
            path = self._target(target)
            self._make_folder(path.parent)
            path.unlink(missing_ok=True)
            path.symlink_to(os.readlink(source))
        elif source.suffix == _TEMPLATE_SUFFIX and words:
            text = source.read_text(encoding="utf-8")
            for word, value in words.items():
                text = text.replace(word, value)
            self._add_text(target.removesuffix(_TEMPLATE_SUFFIX), text, mode)
        else:
            path = self._target(target)
            self._make_folder(path.parent)
            shutil.copyfile(source, path)
            path.chmod(mode)

    def _add_text(self, target: str, text: str, mode: int = 0o644) -> None:
        path = self._target(target)
        self._make_folder(path.parent)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)

    def _target(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _make_folder(self, path: Path) -> None:
        if path.exists():
            return
        self._make_folder(path.parent)
        path.mkdir()
        # a folder of the layer hides the owner and mode of the image's
        below = self._image_root / path.relative_to(self.root)
        if below.is_symlink() or (below.exists() and not below.is_dir()):
            raise HostenvError(
                f"/{path.relative_to(self.root)} is not a folder in the image; lay files elsewhere"
            )
        if below.is_dir():
            status = below.stat()
            os.chown(path, status.st_uid, status.st_gid)
            path.chmod(status.st_mode & 0o7777)
        else:
            path.chmod(0o755)

    def _finish(self, units: Sequence[str]) -> None:
        paths = map(str, (self._image_root, self.root, self.work, self._folder / "root"))
        products = " ".join(f"/{PYTHON_PACKAGES}/{name}" for name in self._packages)
        inside = ["/bin/sh", "-ec", _FINISH_INSIDE, "finish", products, *units]
        run.run(
            [
                *("unshare", "--mount", "/bin/sh", "-ec", _FINISH, "finish", *paths),
                *run.in_clean_environment(inside),
            ],
            timeout=_TIMEOUT,
            groups=self._groups,
        )
        # else systemd takes the layer for an upgrade of /usr and rebuilds its caches at boot
        now = time.time()
        for stamp in ("/etc/.updated", "/var/.updated"):
            self._add_text(stamp, "")
            os.utime(self._target(stamp), (now, now))


def hosts(machines: Sequence[MachineDescription]) -> str:
    """The `/etc/hosts` that all machines share."""
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    lines += [f"{network.address(machine.number)} {machine.name}" for machine in machines]
    return "\n".join(lines) + "\n"


def check_substitute(substitute: Substitute, given: Path, workdir: Path) -> Path:
    """The absolute path of what was given in place of a stand-in.

    Raises HostenvError if it cannot stand for it.
    """
    path = given.resolve()
    if not path.exists():
        raise HostenvError(f"{given}: there is no such {substitute.name}")
    if workdir.is_relative_to(path):
        raise HostenvError(f"{given}: holds the work folder {workdir}; choose a work folder elsewhere")
    if substitute.executable and not (path.is_file() and os.access(path, os.X_OK)):
        raise HostenvError(f"{given}: is not an executable program to use as {substitute.name}")
    return path


def _lab_units(vm: bool) -> tuple[str, ...]:
    return ("lab-network.service", "lab-shell.service") if vm else ("lab-network.service",)
