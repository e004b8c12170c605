"""What the part that runs as an environment's user has at hand."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hostenv_core.processes import Completed, run

from hostenv_node.deadline import Deadline
from hostenv_node.environment.layout import Layout

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class UserProcess:
    """One run of `hostenv-node user-apply`."""

    layout: Layout
    tools: Mapping[str, str]
    deadline: Deadline
    left: list[str] = field(default_factory=list)
    """What could not be removed, a line about each."""

    def run(
        self,
        tool: str,
        *arguments: str | Path,
        stdin: Path | None = None,
        check: bool = True,
        cwd: Path | None = None,
        whole: bool = False,
    ) -> Completed:
        """Run one of the node's tools to its end; raises CommandFailed.

        Only with `whole` is more than the end of its output kept.
        """
        argv = [self.tools[tool], *map(str, arguments)]
        return self.run_program(argv, check=check, cwd=cwd, stdin=stdin, whole=whole)

    def run_program(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        cwd: Path | None = None,
        stdin: Path | None = None,
        whole: bool = False,
        at_most: float = float("inf"),
    ) -> Completed:
        """Run a program to its end, which has `at_most` seconds; raises CommandFailed."""
        if stdin is not None:
            # Files can be larger than memory, so the shell opens them.
            argv = ["/bin/sh", "-c", 'input=$1; shift; exec "$@" <"$input"', "sh", str(stdin), *argv]
        timeout = self.deadline.remaining(at_most)
        return run(argv, timeout=timeout, check=check, cwd=cwd, whole=whole)

    def systemctl(self, *arguments: str, check: bool = True) -> Completed:
        """Talk to the user's own manager."""
        return self.run("systemctl", "--user", "--no-pager", *arguments, check=check, whole=True)

    def wait_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Check `condition` until it holds or `seconds` have passed; returns whether it holds."""
        end = time.monotonic() + self.deadline.remaining(seconds)
        while not condition():
            if time.monotonic() >= end:
                return False
            time.sleep(_POLL_SECONDS)
        return True
