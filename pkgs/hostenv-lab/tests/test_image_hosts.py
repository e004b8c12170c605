"""The image is the same whatever host it is made on: a bare Debian 12, a bare Debian 13, this one."""

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parents[3]
pytestmark = [pytest.mark.machine, pytest.mark.long]
_LIMIT = 3600

# A host with nothing but Python, in which the lab itself says what it lacks and makes an image. Nothing of it
# is mounted any more when the process ends.
_MAKE = """
root=$1 tree=$2 suite=$3
mmdebstrap --quiet --mode=root --variant=minbase --include=python3,ca-certificates "$suite" "$root"
mount --bind "$root" "$root"
mkdir "$root/tree"
mount --bind -o ro "$tree" "$root/tree"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
exec chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
  PYTHONPATH=/tree/pkgs/hostenv-lab:/tree/pkgs/hostenv-core PYTHONDONTWRITEBYTECODE=1 \\
  DEBIAN_FRONTEND=noninteractive /bin/sh -ec '
  cd /tree
  apt-get update -qq
  apt-get install -qq --no-install-recommends $(python3 -m hostenv_lab packages --machines container) >&2
  python3 -m hostenv_lab image'
"""


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """Every path of a tree with its kind, mode, owner, group and what it holds; not when it was changed."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder) / name
            status = path.lstat()
            holds: object = None
            if path.is_symlink():
                holds = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                holds = hashlib.sha256(path.read_bytes()).hexdigest()
            elif not stat.S_ISDIR(status.st_mode):
                holds = status.st_rdev
            where = str(path.relative_to(root))
            found[where] = (oct(status.st_mode), status.st_uid, status.st_gid, holds)
    return found


def make(command: list[str | Path], **environment: str) -> str:
    """The folder of the image that a command made, as it prints it."""
    done = subprocess.run(
        command,
        cwd=TREE,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        timeout=_LIMIT,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def test_bare_hosts_make_the_image_that_this_one_makes(tmp_path: Path) -> None:
    here = make(
        [sys.executable, "-m", "hostenv_lab", "image"],
        PYTHONPATH=os.pathsep.join(sys.path),
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )
    expected = listing(Path(here) / "root")
    assert len(expected) > 10_000
    for suite in ("bookworm", "trixie"):
        root = tmp_path / suite
        made = make(["unshare", "--mount", "/bin/sh", "-ec", _MAKE, "make", root, TREE, suite])
        found = listing(root / made.lstrip("/") / "root")
        different = [path for path in sorted(expected | found) if expected.get(path) != found.get(path)]
        assert different == [], suite
