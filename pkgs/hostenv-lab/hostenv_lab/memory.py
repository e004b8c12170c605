"""Memory of this host, asked for before machines take it."""

import re
from pathlib import Path

from hostenv_core.errors import HostenvError

_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB$", re.MULTILINE)


def require_memory(mebibytes: int, meminfo: Path = Path("/proc/meminfo")) -> None:
    """Refuse to go on where machines would not fit. Raises HostenvError naming both numbers."""
    found = _AVAILABLE.search(meminfo.read_text(encoding="utf-8"))
    if found and (available := int(found[1]) // 1024) < mebibytes:
        raise HostenvError(
            f"the machines take {mebibytes} MiB of memory, and {available} are available: end other programs,"
            " or run ./run-demo.sh --machines container, which needs less"
        )
