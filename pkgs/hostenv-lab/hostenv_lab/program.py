"""Makes one executable file of a Python package, to be laid into machines as a program."""

import io
import zipfile
from pathlib import Path

_MAIN = """\
import sys

from {package}.cli import main

sys.exit(main())
"""
_OLDEST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def write_program(package: Path, program: Path) -> None:
    """Write the package folder to `program`, which runs its `cli.main` and needs only /usr/bin/python3.

    The same sources give the same bytes.
    """
    sources = {f"{package.name}/{source.name}": source.read_text("utf-8") for source in package.glob("*.py")}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        for name, text in sorted({**sources, "__main__.py": _MAIN.format(package=package.name)}.items()):
            members.writestr(zipfile.ZipInfo(name, _OLDEST_ZIP_TIME), text)
    program.write_bytes(b"#!/usr/bin/python3\n" + archive.getvalue())
    program.chmod(0o755)
