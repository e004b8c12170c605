"""`python3 record_session.py > docs/wizard-session.txt`: what somebody at a terminal sees of the wizard.

Three sessions, driven key by key: through all stages, `a` at a pause, Ctrl-C in a stage.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hostenv_demo.stages import STAGES
from pty_session import PROMPT, REPOSITORY, Terminal, terminal

_FLAGS = ["--machines", "container", "--cleanup"]
_PAUSE, _STAGE = 3, 5


@contextlib.contextmanager
def session(title: str) -> Iterator[Terminal]:
    """One session; it is written, with its exit status, when the wizard has ended."""
    with (
        tempfile.TemporaryDirectory(prefix="hostenv-") as folder,
        # a dumb terminal gets no lines that are drawn over
        terminal(Path(folder), [str(REPOSITORY / "run-demo.sh"), *_FLAGS], TERM="dumb") as wizard,
    ):
        yield wizard
        status = wizard.exit_status()
        lines = wizard.raw.replace("\r\n", "\n").replace(folder, "/srv/hostenv").rstrip()
        command = " ".join(["./run-demo.sh", *_FLAGS])
        print(f"# {title}\n\n$ {command}\n{lines}\n\n# exit status {status}\n")


def go_on(wizard: Terminal, pauses: int) -> None:
    """Press Enter at so many pauses."""
    for _ in range(pauses):
        wizard.until(PROMPT)
        wizard.press("\n")


def main() -> None:
    """Record."""
    with session("<Enter> at every pause") as wizard:
        go_on(wizard, len(STAGES) + 1)
    with session(f"a at pause {_PAUSE}") as wizard:
        go_on(wizard, _PAUSE - 1)
        wizard.until(PROMPT)
        wizard.press("a")
    with session(f"Ctrl-C in stage {_STAGE}") as wizard:
        go_on(wizard, _STAGE)
        wizard.until("job ")
        wizard.interrupt()


if __name__ == "__main__":
    assert os.geteuid() == 0, "machines need root"
    main()
