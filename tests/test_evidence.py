"""What a demo leaves for others to look at holds no secret."""

import os
import re
import subprocess
from pathlib import Path

import pytest

TREE = Path(__file__).parents[1]
# Every token and password that hostenv makes looks like this; so do the hashes of files, and of the project.
SECRET = re.compile(r"\b[0-9a-f]{64}\b")
PROJECT_HASH = "28550931a7ff25f178b6ffc12b8cb3ad288935e40dc36f1e746aae10ca5c9632"


@pytest.mark.skipif(os.geteuid() != 0, reason="machines need root")
def test_evidence_and_logs_of_a_demo_hold_no_secret(tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    command = [TREE / "run-demo.sh", "--workdir", workdir]
    try:
        done = subprocess.run(
            [*command, "--automated", "--machines", "container"],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=900,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        checksums = [path.read_text() for path in (workdir / "evidence").glob("checksums-*.json")]
        public = {PROJECT_HASH, *SECRET.findall("\n".join(checksums))}
        files = [path for path in workdir.rglob("*") if path.is_file()]
        assert {"evidence", "logs"} <= {path.parent.name for path in files}
        for path in files:
            text = path.read_text(errors="replace")
            assert not {*SECRET.findall(text)} - public, path
            assert "Authorization: " not in text, path
    finally:
        subprocess.run([*command, "--teardown"], cwd=tmp_path, check=True, timeout=120, capture_output=True)
