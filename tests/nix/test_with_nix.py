"""The provider's tests that need Nix, run in the lab's image where this host has none."""

import shutil
import subprocess
from importlib.metadata import distribution
from pathlib import Path

import pytest
from hostenv_lab import description, image

TREE = Path(__file__).parents[2]
TESTS = ("repository/test_projects.py", "cli/test_cli.py")
# pytest itself and what it imports, all of it pure Python, so the image's own Python can use this host's copy
BORROWED = ("pytest", "pluggy", "iniconfig", "packaging", "pygments")

ENTER = """
root=$1
mount -t tmpfs tmpfs "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$2/upper,workdir=$2/work" "$2/root"
mkdir -p "$2/root/tree" "$2/root/borrowed"
mount --bind -o ro "$3" "$2/root/tree"
mount --bind -o ro "$4" "$2/root/borrowed"
mount --rbind /dev "$2/root/dev"
mount -t proc proc "$2/root/proc"
root=$2/root
shift 4
exec chroot "$root" /usr/bin/env -i PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME=/root LANG=C.UTF-8 \\
  PYTHONPATH=/borrowed PYTHONDONTWRITEBYTECODE=1 /bin/sh -c 'cd /tree && exec "$@"' enter "$@"
"""


@pytest.mark.machine
@pytest.mark.skipif(bool(shutil.which("nix")), reason="this host has Nix: the tests run by themselves")
def test_provider_with_the_nix_of_the_image(tmp_path: Path) -> None:
    base = image.ensure(description.load(TREE / "pkgs/hostenv-demo/machines/machines.toml").image, print)
    borrowed, over = tmp_path / "borrowed", tmp_path / "over"
    borrowed.mkdir()
    over.mkdir()
    for name in BORROWED:
        for file in distribution(name).files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                target = borrowed / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.locate(), target)
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-ec", ENTER, "enter"]
        + [str(path) for path in (base.root, over, TREE, borrowed)]
        + ["python3", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        + [f"pkgs/hostenv-provider/tests/{name}" for name in TESTS],
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "nix is not installed" not in done.stdout
