"""What a demo leaves for others to look at holds no secret."""

import re
from pathlib import Path

# Every token and password that hostenv makes looks like this; so do the hashes of files, and of the project.
_SECRET = re.compile(r"\b[0-9a-f]{64}\b")
_PROJECT_HASH = "28550931a7ff25f178b6ffc12b8cb3ad288935e40dc36f1e746aae10ca5c9632"


def assert_no_secret(workdir: Path) -> None:
    """No file of a finished run's work folder shows a token or a password."""
    checksums = [path.read_text() for path in (workdir / "evidence").glob("checksums-*.json")]
    public = {_PROJECT_HASH, *_SECRET.findall("\n".join(checksums))}
    files = [path for path in workdir.rglob("*") if path.is_file()]
    assert {"evidence", "logs"} <= {path.parent.name for path in files}
    for path in files:
        text = path.read_text(errors="replace")
        assert not {*_SECRET.findall(text)} - public, path
        assert "Authorization: " not in text, path
