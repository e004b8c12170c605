"""Room on this host's disks, asked for before it is used."""

import shutil
from pathlib import Path

from hostenv_core.errors import HostenvError


def require_space(folder: Path, mebibytes: int) -> None:
    """Refuse to go on where too little room is left. Raises HostenvError naming folder and numbers."""
    free = shutil.disk_usage(folder).free // 1024**2
    if free < mebibytes:
        raise HostenvError(f"{folder}: {free} MiB free, {mebibytes} needed; make room there")
