"""The provider's restic of the lab makes keys that restic itself can use."""

import shutil
import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "files/provider/usr/lib/hostenv-lab/restic"

pytestmark = pytest.mark.skipif(not Path("/usr/bin/restic").exists(), reason="restic is not installed")


def restic(program: str, repository: Path, password: str, *arguments: str) -> int:
    command = [program, "--no-cache", "--quiet", "--repo", repository, *arguments]
    done = subprocess.run(command, env={"RESTIC_PASSWORD": password}, timeout=120, check=False)
    return done.returncode


def test_its_keys_open_the_repository(tmp_path: Path) -> None:
    repository, password = tmp_path / "repository", tmp_path / "password"
    password.write_text("another")
    assert restic(str(PROGRAM), repository, "own", "init") == 0
    arguments = ("key", "add", "--new-password-file", str(password))
    assert restic(str(PROGRAM), repository, "wrong", *arguments) != 0
    assert restic(str(PROGRAM), repository, "own", *arguments) == 0
    for known in ("own", "another"):
        assert restic(str(shutil.which("restic")), repository, known, "snapshots") == 0
