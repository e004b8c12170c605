"""The Debian image that all machines start from, made by mmdebstrap and kept in a cache."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hostenv_lab import run
from hostenv_lab.description import ImageDescription
from hostenv_lab.disk import require_space
from hostenv_lab.errors import HostenvError
from hostenv_lab.layer import GUEST_FILES

# Part of the hash: an image of an older recipe is not used.
_RECIPE = 1
_LEFT_OUT = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
)
_INIT = GUEST_FILES / "image" / "init"
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
_COMPLAINT = re.compile(r"^[EW]: .*$", re.MULTILINE)
_DISK_TIMEOUT = 600


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
        "recipe": _RECIPE,
        "left_out": _LEFT_OUT,
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

    Raises HostenvError, BuildFailed above all, if it cannot be made; the cache then holds no trace of it.
    """
    if image := find(description):
        return image
    with _locked(progress):
        if image := find(description):
            return image
        progress("making the Debian image (about a minute, once)")
        final = cache_folder() / image_key(description)
        partial = final.with_suffix(".partial")
        _remove(partial)
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
        return Image(final)


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
            run.run([*make, str(partial), str(blocks)], timeout=_DISK_TIMEOUT, groups=groups)
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


# Runs on the host with the image's folder as $1; the description's lists follow as single arguments.
_FINISH = """
root=$1 init=$2 mask=$3 disable=$4 remove=$5
install -D -m 755 "$init" "$root/usr/lib/hostenv-lab/init"
for unit in $disable; do chroot "$root" systemctl --quiet disable "$unit"; done
for unit in $mask; do ln -sfn /dev/null "$root/etc/systemd/system/$unit"; done
for path in $remove; do rm -rf "$root"$path; done
# each machine brings its own; what mmdebstrap copied is the building host's
: > "$root/etc/machine-id"
: > "$root/etc/hostname"
rm -f "$root/etc/resolv.conf"
: > "$root/etc/resolv.conf"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log "$root"/boot/initrd.img-*
"""


def _build(description: ImageDescription, folder: Path, groups: Sequence[Path]) -> None:
    root = folder / "root"
    finish = [_FINISH, "finish", str(root), str(_INIT)]
    finish += [" ".join(items) for items in (description.mask, description.disable, description.remove)]
    command = [
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--format=directory",
        f"--include={','.join(description.packages)}",
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--aptopt={option}" for option in _proxies()),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        description.suite,
        str(root),
    ]
    # Mounts that mmdebstrap makes in the tree end with its process, however it ends.
    private = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    try:
        run.run([*private, *command], timeout=_BUILD_TIMEOUT, groups=groups)
        run.run(["/bin/sh", "-ec", *finish], timeout=_DISK_TIMEOUT, groups=groups)
    except run.CommandFailed as error:
        # the first complaint is the cause, what follows only says that it was one
        complaint = _COMPLAINT.search(error.output)
        raise BuildFailed(
            f"the Debian image could not be made: {complaint[0] if complaint else error}; see whether"
            " `apt-get update` works here (network, mirror, proxy), then try again",
            error.output,
        ) from error
    kernels = sorted((root / "boot").glob("vmlinuz-*"))
    if not kernels:
        raise HostenvError("the image has no kernel: add linux-image-cloud-amd64 to image.packages")
    shutil.copyfile(kernels[-1], folder / "vmlinuz")


def _proxies() -> list[str]:
    """The options by which this host's own apt reaches a mirror."""
    if not shutil.which("apt-config"):
        return []
    dumped = run.run(["apt-config", "dump"], timeout=_ASK_TIMEOUT, check=False)
    return _PROXY.findall(dumped.stdout.decode("utf-8", "replace"))


@contextlib.contextmanager
def _locked(progress: Callable[[str], None]) -> Iterator[None]:
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another run that is making an image")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
