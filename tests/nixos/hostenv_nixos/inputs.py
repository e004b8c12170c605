"""The source trees that a run is given, looked at before anything is made."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_lab import run

TREE = Path(__file__).resolve().parents[3]
_DRIVER = "nixos/lib/test-driver/src/test_driver/machine/__init__.py"
_COMIN_VERSION = re.compile(r'^\s*version = "([^"]+)";$', re.MULTILINE)
_LOCKED_COMIN = re.compile(r'"github:nlewo/comin/v([^"]+)"')
_GIT_TIMEOUT = 60


@dataclass(frozen=True)
class Inputs:
    """Folders of nixpkgs and of comin, and a built comin; without one the lab's stand-in runs.

    Raises HostenvError for what is none of it.
    """

    nixpkgs: Path
    comin: Path
    comin_program: Path | None = None

    def __post_init__(self) -> None:
        driver = self.nixpkgs / _DRIVER
        if not (self.nixpkgs / "pkgs/top-level/default.nix").is_file():
            raise HostenvError(f"{self.nixpkgs}: is no source tree of nixpkgs; name its top folder")
        if not driver.is_file() or "class NspawnMachine" not in driver.read_text(encoding="utf-8"):
            raise HostenvError(
                f"{self.nixpkgs}: its test driver has no containers; take a nixpkgs of 2026 or newer"
            )
        package = self.comin / "nix/package.nix"
        if not package.is_file():
            raise HostenvError(f"{self.comin}: is no source tree of comin; name its top folder")
        wanted = _LOCKED_COMIN.search((TREE / "flake.nix").read_text(encoding="utf-8"))
        found = _COMIN_VERSION.search(package.read_text(encoding="utf-8"))
        assert wanted is not None
        if found is None or found[1] != wanted[1]:
            raise HostenvError(
                f"{self.comin}: is comin {found[1] if found else 'of no known version'}, and the flake takes"
                f" {wanted[1]}; check out v{wanted[1]}"
            )
        program = self.comin_program
        if program and not program.is_file():
            raise HostenvError(f"{program}: is no program; build comin and name its file")


def copy_tree(target: Path) -> None:
    """Copy what a flake's source would be: what Git knows or would add, or without Git all but hidden files.

    Raises HostenvError if Git cannot be asked.
    """
    if (TREE / ".git").exists():
        command = ["git", "-C", str(TREE), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = run.run(command, timeout=_GIT_TIMEOUT).stdout.decode().split("\0")
        files = [Path(name) for name in listed if name]
    else:
        files = [
            path.relative_to(TREE)
            for path in TREE.rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(TREE).parts)
        ]
    for file in files:
        # deleted, and not yet in Git's list
        if not (TREE / file).is_symlink() and not (TREE / file).exists():
            continue
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TREE / file, target / file, follow_symlinks=False)
