"""The steps of a move during which the site is served: rounds of changes, from source to target (contract 7).

Each round is an archive, `delta-<n>`, that the source makes and the provider keeps for the target, which says
`applied-<n>` once it has taken it in. Whoever is interrupted does its round again.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hostenv_core.states import ENDED

from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment import steps
from hostenv_node.environment.layout import Layout
from hostenv_node.environment.steps import Step
from hostenv_node.errors import OperationFailed
from hostenv_node.jobs.job_status import JobSnapshot
from hostenv_node.jobs.operations import Context
from hostenv_node.runtime.as_user import pipe_from_user, pipe_to_user, user_apply

# What changes during such a round is little, and the hand-over has no more to send than that. Of a small one
# the time is that of starting programs, whatever the site writes.
_SHORT_SECONDS = 2.0
_SMALL_BYTES = 1 << 20
_SMALL_SECONDS = 15.0
_MOST_ROUNDS = 30
_MOST_BYTES = 256 << 20
_WAIT_SECONDS = 20


class Transfers(Protocol):
    """What of the provider's API a live move needs."""

    def job(self, job_id: str) -> JobSnapshot: ...

    def send_part(self, job_id: str, user: str, name: str, file: Path) -> None: ...

    def fetch_part(self, job_id: str, user: str, name: str, file: Path, wait: int) -> bool: ...


class LiveMove:
    """Rounds of one node, which is the source or the target."""

    def __init__(self, config: Config, transfers: Transfers) -> None:
        self._config = config
        self._transfers = transfers

    def send_rounds(self, context: Context, layout: Layout) -> None:
        """Send what changes, round by round, until a round is short. The first one compares all tables.

        Raises OperationFailed when the site writes faster than the target takes it in.
        """
        number = max(1, self._last(layout))
        while True:
            began = time.monotonic()
            self._do(layout, steps.MakeDelta(number, compare=number == 1))
            size = self._send(context, layout, layout.delta(number))
            self._await(context, layout, f"applied-{number}")
            seconds = time.monotonic() - began
            context.tell(f"round {number}: {size >> 10} KiB in {seconds:.1f} s")
            if seconds <= (_SMALL_SECONDS if size <= _SMALL_BYTES else _SHORT_SECONDS):
                return
            if number >= _MOST_ROUNDS:
                raise OperationFailed(
                    f"{layout.user} writes faster than its target takes it in: {number} rounds, the last one"
                    f" took {seconds:.0f} s; move it in a quieter hour"
                )
            number += 1

    def send_rest(self, context: Context, layout: Layout) -> None:
        """Let the environment, which takes no writes any more, come to rest, and send the last changes."""
        answers = user_apply(self._config, layout, self._deadline(), [steps.Freeze(), steps.MakeRest()])
        number = answers.get(steps.MakeRest)
        if not isinstance(number, int):
            raise OperationFailed(f"the user's side of {layout.user} does not say what it has to send")
        self._send(context, layout, layout.rest(number))

    def take_rounds(self, context: Context, layout: Layout, warm: Sequence[Step], source: str) -> None:
        """Take in what the source sends, until it has sent the last of its live rounds.

        `warm` lets run what needs no last changes to run.
        """
        number = self._receive(layout, warm).number
        if number:
            # An earlier run may have been cut short before it said so.
            self._tell(context, layout, number)
        number += 1
        while True:
            sent_all = self._look(context).status(source, "sync", layout.user) == "success"
            if self._fetch(context, layout, f"delta-{number}", number, 0 if sent_all else _WAIT_SECONDS):
                self._do(layout, steps.TakeInDelta(number))
                self._tell(context, layout, number)
                number += 1
            elif sent_all:
                return

    def fetch_rest(self, context: Context, layout: Layout, database: Step) -> list[Step]:
        """Bring the last changes here; the steps that take them in, none if that is done."""
        taken = self._receive(layout, [database])
        number = taken.number + 1
        if taken.still:
            return []
        while not self._fetch(context, layout, f"rest-{number}", number, _WAIT_SECONDS):
            self._look(context)
        return [steps.TakeInDelta(number)]

    def _send(self, context: Context, layout: Layout, archive: Path) -> int:
        """Its size in bytes."""
        with _file() as file:
            producer = ["cat", str(archive)]
            pipe_from_user(self._config, layout, self._deadline(), producer, file, _MOST_BYTES)
            self._transfers.send_part(context.job, layout.user, archive.stem, file)
            return file.stat().st_size

    def _fetch(self, context: Context, layout: Layout, name: str, number: int, wait: int) -> bool:
        """Unpack an archive for the user's side; False when it is not there yet."""
        with _file() as file:
            if not self._transfers.fetch_part(context.job, layout.user, name, file, wait):
                return False
            unpack = f'rm -rf "$1" && mkdir -p "$1" && exec {self._config.tool("tar")} -x -C "$1"'
            consumer = ["/bin/sh", "-c", unpack, "sh", str(layout.incoming(number))]
            pipe_to_user(self._config, layout, self._deadline(), ["cat", str(file)], consumer)
        return True

    def _receive(self, layout: Layout, warm: Sequence[Step]) -> "_TakenIn":
        """What was taken in before, once the steps are done that it takes to go on."""
        answers = user_apply(self._config, layout, self._deadline(), [*warm, steps.TakenIn()])
        match answers.get(steps.TakenIn):
            case [int(number), bool(still)]:
                return _TakenIn(number, still)
        raise OperationFailed(f"the user's side of {layout.user} does not say what it has taken in")

    def _tell(self, context: Context, layout: Layout, number: int) -> None:
        with _file() as file:
            # A body of no length would be sent in chunks, which the service does not take.
            file.write_bytes(b"done\n")
            self._transfers.send_part(context.job, layout.user, f"applied-{number}", file)

    def _await(self, context: Context, layout: Layout, name: str) -> None:
        with _file() as file:
            while not self._transfers.fetch_part(context.job, layout.user, name, file, _WAIT_SECONDS):
                self._look(context)

    def _look(self, context: Context) -> JobSnapshot:
        """Raises OperationFailed when the job has ended, for then nobody sends anything any more."""
        job = self._transfers.job(context.job)
        if job.state in ENDED:
            raise OperationFailed(f"the job is {job.state}")
        return job

    def _last(self, layout: Layout) -> int:
        answer = self._do(layout, steps.LastDelta())
        if not isinstance(answer, int):
            raise OperationFailed(f"the user's side of {layout.user} does not say what it has sent")
        return answer

    def _do(self, layout: Layout, step: Step) -> object:
        return user_apply(self._config, layout, self._deadline(), [step]).get(type(step))

    def _deadline(self) -> Deadline:
        # A move may take hours; a round of it that takes so long hangs.
        return Deadline.after(self._config.action_timeout)


@dataclass(frozen=True)
class _TakenIn:
    number: int
    still: bool


@contextmanager
def _file() -> Iterator[Path]:
    """A file that is root's alone, for a part on its way."""
    with tempfile.TemporaryDirectory(prefix="hostenv-part-", dir="/var/tmp") as folder:
        yield Path(folder) / "part"
