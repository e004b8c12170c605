"""The wizard: before each stage it says what will happen, gives commands to try, and waits for a key."""

import shlex
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

from hostenv_demo.console import Console
from hostenv_demo.stages import END, STAGES, Stage, commands

# longer lines are hard to read
_WIDEST = 100
_KEYS = (
    "<Enter> goes on. `a` aborts: machines, network and work folder are removed. Ctrl-C does the same at any"
    " time."
)


class Wizard:
    """Waits before each stage. `words` fill in the commands; `read_key` calls what asks, and gets a key."""

    def __init__(
        self, console: Console, read_key: Callable[[Callable[[], None]], str], words: Mapping[str, str]
    ) -> None:
        self._console = console
        self._read_key = read_key
        self._words = words
        self._seen = 0

    def begin(self, hosts_line: str) -> None:
        """Say, before anything happens, how the wizard works."""
        self._console.info("")
        self._paragraph(
            "A website will move from one machine to another. Before each stage you can look around;"
            f" {self._words['enter']} is a shell in which the machines and the site have names. For the"
            " site's names in a browser, this line in /etc/hosts does it:"
        )
        self._console.info(f"\n     {hosts_line.strip()}")

    def agrees(self, question: str) -> bool:
        """Ask for a yes; every other key means no. Raises KeyboardInterrupt if the user aborts."""
        self._console.info("")
        self._paragraph(question)
        key = self._key("   y: yes, any other key: no, a aborts: ")
        if key in ("a", "A"):
            raise KeyboardInterrupt
        return key in ("y", "Y")

    def before(self, name: str) -> None:
        """Explain a stage and wait. Raises KeyboardInterrupt if the user aborts."""
        self._seen += 1
        stage = STAGES.get(name, Stage("This stage has no explanation.", ()))
        self._pause(f"{self._seen} of {len(STAGES)}: {name}", stage)

    def end(self) -> None:
        """Let people look around after the last stage."""
        self._pause("Done: the site has moved", END)

    def failed(self) -> None:
        """Let people look around after a failure."""
        text = "That failed. The machines are still up: look around, then go on to the end of the run."
        self._pause("Failed", Stage(text, ("{enter} hostenv-provider jobs", "ls {workdir}/logs")))

    def _pause(self, title: str, stage: Stage) -> None:
        self._console.info("")
        for line in textwrap.wrap(f"-- {title}", self._width, subsequent_indent="   "):
            self._console.heading(line)
        self._paragraph(stage.explanation)
        self._console.info(f"\n   The site in a browser: {self._words['site']}/")
        if stage.commands:
            self._console.info("   To try now, in another terminal:\n")
            for command in (shlex.join(["cd", str(Path.cwd())]), *commands(stage, self._words)):
                self._console.info(f"     {command}")
        self._wait()

    def _wait(self) -> None:
        self._console.info("")
        while True:
            key = self._key("   <Enter> goes on, a aborts and cleans up: ")
            if key in ("\n", "\r"):
                return
            if key in ("a", "A"):
                raise KeyboardInterrupt
            self._paragraph(_KEYS)

    def _key(self, question: str) -> str:
        key = self._read_key(lambda: self._console.ask(question))
        self._console.answered()
        return key

    @property
    def _width(self) -> int:
        return min(self._console.columns, _WIDEST)

    def _paragraph(self, text: str) -> None:
        for line in textwrap.wrap(text, self._width, initial_indent="   ", subsequent_indent="   "):
            self._console.info(line)
