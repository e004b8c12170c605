"""The Debian image that all machines start from, made by mmdebstrap and kept in a cache."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import struct
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.locks import locked
from hostenv_core.processes import CommandFailed

from hostenv_lab import run
from hostenv_lab.description import ImageDescription
from hostenv_lab.disk import require_space
from hostenv_lab.layer import GUEST_FILES

_LEFT_OUT = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
)
_INIT = GUEST_FILES / "image" / "init"
_INIT_TARGET = "usr/lib/hostenv-lab/init"
_DISK_BYTES = 16 * 1024**3
_BLOCK = 4096
_SECTOR = 512
_PARTITION_SECTOR = 2048
_DISK_SIGNATURE = 0x6C616231
# The kernel names disks in the order in which it finds them; the partition's identity is certain.
ROOT_PARTITION = f"{_DISK_SIGNATURE:08x}-01"
_NEEDED_MIB = 3 * 1024
_BUILD_TIMEOUT = 3600
_ASK_TIMEOUT = 60
# of `apt-config dump`: what this host's apt reaches its mirror by, also for one mirror or by a program
_PROXY = re.compile(r'^(Acquire::https?::Proxy(?:-Auto-Detect)?(?:::\S+)? ".+");$', re.IGNORECASE | re.M)
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_COMPLAINT = re.compile(r"^[EW]: .*$", re.MULTILINE)
_DISK_TIMEOUT = 600
# so many images stay, those that were used last, and all that somebody uses or has used within a day
_KEPT = 2
_DAY = 24 * 3600
_KEY = re.compile(r"[0-9a-f]{16}")
# descriptors that tell other processes of it as long as this one lives
_in_use: dict[Path, int] = {}


@dataclass(frozen=True)
class Image:
    """A finished image in the cache."""

    folder: Path

    @property
    def root(self) -> Path:
        """The image's file tree; never written to."""
        return self.folder / "root"

    @property
    def kernel(self) -> Path:
        """The kernel for VMs. It finds the NVMe root disk without an initrd."""
        return self.folder / "vmlinuz"

    @property
    def disk(self) -> Path:
        """The tree as a raw ext4 disk; made by `ensure_disk`."""
        return self.folder / "root.ext4"


class BuildFailed(HostenvError):
    """An image could not be made; `output` is all that mmdebstrap said."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


def cache_folder() -> Path:
    """Where images are kept: `${XDG_CACHE_HOME:-~/.cache}/hostenv-lab`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hostenv-lab"


def image_key(description: ImageDescription) -> str:
    """The hash of everything that goes into an image."""
    ingredients = {
        "make": _mmdebstrap(description, Path("root"), ()),
        "finish": _FINISH,
        "init": _INIT.read_text(encoding="utf-8"),
        **asdict(description),
    }
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()[:16]


def find(description: ImageDescription) -> Image | None:
    """The image if the cache holds it."""
    image = Image(cache_folder() / image_key(description))
    return image if image.folder.is_dir() else None


def ensure(
    description: ImageDescription, progress: Callable[[str], None], groups: Sequence[Path] = ()
) -> Image:
    """The image, made if the cache does not hold it; one maker at a time, inside control groups.

    It stays as long as this process lives. Making one removes those that nobody has used for long.

    Raises HostenvError, BuildFailed above all, if it cannot be made; the cache then holds no trace of it.
    """
    if image := _use(description):
        return image
    with _locked(progress):
        if image := _use(description):
            return image
        _remove_old()
        progress("making the Debian image (about a minute, once)")
        final = cache_folder() / image_key(description)
        partial = final.with_suffix(".partial")
        require_space(partial.parent, _NEEDED_MIB)
        umask = os.umask(0o022)
        try:
            partial.mkdir()
            _build(description, partial, groups)
            partial.rename(final)
        except BaseException:
            _remove(partial)
            raise
        finally:
            os.umask(umask)
        image = _use(description)
        assert image is not None
        return image


def ensure_disk(image: Image, progress: Callable[[str], None], groups: Sequence[Path] = ()) -> None:
    """Make the image's disk for VMs if the cache does not hold it. Raises HostenvError."""
    if image.disk.exists():
        return
    with _locked(progress):
        if image.disk.exists():
            return
        progress("making the disk for VMs (once)")
        require_space(image.folder, _NEEDED_MIB)
        partial = image.disk.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        try:
            with partial.open("wb") as stream:
                stream.write(partition_table())
                stream.truncate(_DISK_BYTES)
            options = f"offset={_PARTITION_SECTOR * _SECTOR},lazy_itable_init=1"
            blocks = (_DISK_BYTES - _PARTITION_SECTOR * _SECTOR) // _BLOCK
            make = ["mkfs.ext4", "-q", "-b", str(_BLOCK), "-d", str(image.root), "-E", options]
            # no such file: the program's own defaults instead of this host's
            configured = ["env", "MKE2FS_CONFIG=/nonexistent/mke2fs.conf"]
            run.run([*configured, *make, str(partial), str(blocks)], timeout=_DISK_TIMEOUT, groups=groups)
            partial.rename(image.disk)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def partition_table() -> bytes:
    """The first sector of the disk for VMs: one Linux partition up to the end, and the disk's signature."""
    sectors = _DISK_BYTES // _SECTOR - _PARTITION_SECTOR
    no_geometry = b"\xfe\xff\xff"
    entry = struct.pack("<B3sB3sII", 0, no_geometry, 0x83, no_geometry, _PARTITION_SECTOR, sectors)
    return struct.pack("<440sIH64sH", b"", _DISK_SIGNATURE, 0, entry, 0xAA55)


# Runs in the image with the description's lists as single arguments: patterns meet the image's files only.
_FINISH = """
mask=$1 disable=$2 remove=$3
set -f
for unit in $disable; do systemctl --quiet disable "$unit"; done
for unit in $mask; do ln -sfn /dev/null "/etc/systemd/system/$unit"; done
set +f
for path in $remove; do rm -rf -- "$path"; done
# what tells of the host: mmdebstrap copied its name and name servers, and its way to a mirror
rm -f /etc/resolv.conf /etc/apt/apt.conf.d/99mmdebstrap
: > /etc/resolv.conf
: > /etc/hostname
# what each machine makes for itself
: > /etc/machine-id
rm -f /etc/ssh/ssh_host_*
# what tells when and in which order the image was made
rm -rf /var/cache/apt/* /var/cache/ldconfig/* /var/lib/apt/lists/* /var/log/*.log /var/log/apt
rm -f /etc/group- /etc/gshadow- /etc/passwd- /etc/shadow- /var/cache/debconf/*-old /var/lib/dpkg/*-old
rm -rf /boot/initrd.img-*
"""


def _mmdebstrap(description: ImageDescription, root: Path, proxies: Sequence[str]) -> list[str]:
    return [
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--format=directory",
        f"--include={','.join(description.packages)}",
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--aptopt={option}" for option in proxies),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        description.suite,
        str(root),
    ]


def _build(description: ImageDescription, folder: Path, groups: Sequence[Path]) -> None:
    root = folder / "root"
    lists = [" ".join(items) for items in (description.mask, description.disable, description.remove)]
    # Packages run their scripts in the environment that mmdebstrap got.
    make = run.in_clean_environment(_mmdebstrap(description, root, _proxies()), keep=_PROXY_VARIABLES)
    finish = run.in_clean_environment(["/bin/sh", "-ec", _FINISH, "finish", *lists])
    # Mounts that mmdebstrap makes in the tree end with its process, however it ends.
    private = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    _make([*private, *make], _BUILD_TIMEOUT, groups)
    _make(["chroot", str(root), *finish], _DISK_TIMEOUT, groups)
    init = root / _INIT_TARGET
    init.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_INIT, init)
    init.chmod(0o755)
    kernels = sorted((root / "boot").glob("vmlinuz-*"))
    if not kernels:
        raise HostenvError("the image has no kernel: add linux-image-cloud-amd64 to image.packages")
    shutil.copyfile(kernels[-1], folder / "vmlinuz")


def _make(argv: Sequence[str], timeout: float, groups: Sequence[Path]) -> None:
    with tempfile.TemporaryFile() as complaints:
        try:
            run.run(argv, timeout=timeout, stderr=complaints, groups=groups)
        except CommandFailed as error:
            complaints.seek(0)
            output = complaints.read().decode("utf-8", "replace")
            # the first complaint is the cause, what follows only says that it was one
            complaint = _COMPLAINT.search(output)
            raise BuildFailed(
                f"the Debian image could not be made: {complaint[0] if complaint else error}; see whether"
                " `apt-get update` works here (network, mirror, proxy), then try again",
                output,
            ) from error


def _proxies() -> list[str]:
    """The options by which this host's own apt reaches a mirror."""
    if not shutil.which("apt-config"):
        return []
    dumped = run.run(["apt-config", "dump"], timeout=_ASK_TIMEOUT, check=False)
    return _PROXY.findall(dumped.stdout.decode("utf-8", "replace"))


def _locked(progress: Callable[[str], None]) -> AbstractContextManager[None]:
    cache = cache_folder()
    # Not by `locked`, for the owner alone: apt works in it as a user of its own.
    cache.mkdir(parents=True, exist_ok=True)
    return locked(cache / "lock", lambda: progress("waiting for another run that is making an image"))


def _use(description: ImageDescription) -> Image | None:
    image = find(description)
    if image is None:
        return None
    try:
        descriptor = os.open(image.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    # somebody may just be removing it
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if not image.folder.is_dir():
        os.close(descriptor)
        return None
    os.utime(image.folder)
    before = _in_use.get(image.folder)
    _in_use[image.folder] = descriptor
    if before is not None:
        os.close(before)
    return image


def _remove_old() -> None:
    """Remove the images that nobody needs, and what makers left that were killed; under the lock."""
    for leftover in cache_folder().glob("*.partial"):
        _remove(leftover)
    images = [folder for folder in cache_folder().iterdir() if _KEY.fullmatch(folder.name)]
    images.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    # one more is about to be made
    for folder in images[_KEPT - 1 :]:
        if time.time() - folder.stat().st_mtime < _DAY:
            continue
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # whole or absent, whenever this is killed
            _remove(folder.rename(folder.with_suffix(".partial")))
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
