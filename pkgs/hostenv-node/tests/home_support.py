"""A home on a real disk, whose user is not root, and the node's own work in it."""

import json
import os
import subprocess
from io import StringIO
from pathlib import Path
from typing import Any

from hostenv_node.environment import steps
from hostenv_node.environment.layout import Layout
from hostenv_node.environment.request import Request
from hostenv_node.user.apply import perform

UID = 60123
FOLDERS = ("mysql", "files", "private_files")
SNAPSHOT = "ab" * 32


class Home:
    """A home on a real disk, and its user, who is not root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layout = Layout("shop", UID, "shop", folder / "home", folder / "frozen", folder / "r")
        self.undo: list[list[str]] = []
        for path in (self.layout.app_dir, self.layout.config_dir, self.layout.state_dir, self.layout.bin_dir):
            path.mkdir(parents=True)
        self.owned()

    def owned(self) -> None:
        """What the test made is the user's."""
        subprocess.run(["chown", "-hR", f"{UID}:{UID}", self.layout.home], check=False, timeout=60)

    def apply(self, *asked: steps.Step) -> dict[str, Any]:
        """The user's side, in a process that is the user's."""
        systemctl = self.folder / "systemctl"
        systemctl.write_text("#!/bin/sh\ncase $* in *Result*) echo success ;; esac\n")
        systemctl.chmod(0o755)
        tools = {"systemctl": str(systemctl), "mariadb-install-db": "/bin/true", "mariadb": "/bin/true"}
        request = Request(self.layout, tools, 60, tuple(asked))
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.chdir("/")
                os.setgroups([])
                os.setresgid(UID, UID, UID)
                os.setresuid(UID, UID, UID)
                answer = StringIO()
                perform(StringIO(request.to_json()), answer)
                os.write(writing, answer.getvalue().encode())
            finally:
                os._exit(0)
        os.close(writing)
        with open(reading, "rb") as source:
            said = source.read()
        os.waitpid(child, 0)
        made: dict[str, Any] = json.loads(said)
        return made

    def error(self, *asked: steps.Step) -> str:
        return str(self.apply(*asked)["error"])

    def done(self, *asked: steps.Step) -> str:
        """The steps succeed; what they left."""
        answer = self.apply(*asked)
        assert "results" in answer, answer
        return "; ".join(answer["left"])

    def mount(self, source: Path, target: Path) -> None:
        subprocess.run(["mount", "--bind", source, target], check=True, timeout=60)
        self.undo.append(["umount", str(target)])

    def lock(self, path: Path) -> None:
        subprocess.run(["chattr", "+i", path], check=True, timeout=60)
        self.undo.append(["chattr", "-i", str(path)])

    def mend(self) -> None:
        """What root did is undone, wherever it is by now."""
        for argv in self.undo:
            name = Path(argv[-1]).name
            for path in [Path(argv[-1]), *self.layout.home.rglob(name)]:
                subprocess.run([*argv[:-1], path], check=False, timeout=60, capture_output=True)
        self.undo.clear()


def release(home: Home, name: str) -> Path:
    made = home.layout.release(name)
    (made / "public").mkdir(parents=True)
    (made / "public/index.php").write_text(name)
    return made


def data(home: Home, parent: Path, content: str) -> None:
    for name in FOLDERS:
        (parent / name).mkdir(parents=True)
        (parent / name / "data").write_text(content)
    home.owned()


def snapshot(home: Home, script: str = "") -> steps.Step:
    """A step that restores; restic and MariaDB are played."""
    command = home.layout.bin_dir / "restic-data"
    command.write_text(
        '#!/bin/sh\nset -e\ncd "$4"\nmkdir -p files private_files backup/data\necho new >files/data\n'
        'echo new >private_files/data\necho "-- Dump completed" >backup/data/database.sql\n' + script
    )
    command.chmod(0o755)
    home.owned()
    return steps.Restore("job-1", "data", SNAPSHOT)
