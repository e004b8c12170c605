"""The committed seed is what its program makes."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

SEED = Path(__file__).resolve().parents[2] / "seed"


def contents(directory: Path) -> dict[str, bytes]:
    """Bytes of the dump and of every public file below a seed directory, by relative path."""
    made = [directory / "seed.sql.gz", *(path for path in (directory / "files").rglob("*") if path.is_file())]
    return {str(path.relative_to(directory)): path.read_bytes() for path in made}


def test_committed_seed_is_reproduced(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(SEED / "make_seed.py"), str(tmp_path)], check=True, timeout=60)
    assert contents(tmp_path) == contents(SEED)


def test_dump_holds_the_marker_of_the_contract() -> None:
    dump = gzip.decompress((SEED / "seed.sql.gz").read_bytes()).decode()
    assert "INSERT INTO `hostenv_demo_marker` VALUES (1,'from-node-a');" in dump
    assert dump.count("CREATE TABLE") == dump.count("DROP TABLE IF EXISTS") == 3
