"""Too little memory is said before a machine is started."""

from pathlib import Path

import pytest
from hostenv_core.errors import HostenvError
from hostenv_lab.memory import require_memory


def meminfo(folder: Path, available: int) -> Path:
    file = folder / "meminfo"
    file.write_text(f"MemTotal:        8000000 kB\nMemAvailable:    {available} kB\nBuffers: 1 kB\n")
    return file


def test_machines_that_fit_are_let_through(tmp_path: Path) -> None:
    require_memory(4096, meminfo(tmp_path, 4096 * 1024))


def test_machines_that_do_not_fit_are_refused_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(HostenvError, match=r"take 4096 MiB of memory, and 4095 are available"):
        require_memory(4096, meminfo(tmp_path, 4096 * 1024 - 1))
