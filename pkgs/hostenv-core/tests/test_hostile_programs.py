"""Programs that are not to be trusted: what they write is limited, cleaned and never waited for too long."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hostenv_core.processes import CommandFailed, CommandTimedOut, OutputTooLong, pipe, run

ENDLESS = ["/bin/sh", "-c", "exec yes"]


@pytest.fixture
def escaping(tmp_path: Path) -> Iterator[Sequence[str]]:
    """A program whose child leaves its group and holds its streams."""
    pid = tmp_path / "pid"
    yield ["/bin/sh", "-c", f"setsid sh -c 'echo $$ >{pid}; exec sleep 600' &"]
    with suppress(FileNotFoundError):
        os.kill(int(pid.read_text()), signal.SIGKILL)


def test_input_output_and_the_end_of_complaints_of_any_size_get_through() -> None:
    content = os.urandom(1 << 20)
    done = run(["/bin/sh", "-c", "tee /dev/stderr"], timeout=60, stdin=content)
    assert done.stdout == content
    assert done.stderr == content[-(1 << 16) :]


def test_a_program_that_reads_nothing_is_judged_by_how_it_ends() -> None:
    assert run(["true"], timeout=60, stdin=bytes(1 << 20)).returncode == 0


def test_output_without_end_is_not_collected() -> None:
    with pytest.raises(OutputTooLong, match=r"wrote more than 1\.5 MiB"):
        run(ENDLESS, timeout=60, most=3 << 19)


def test_a_consumers_output_without_end_is_not_collected() -> None:
    with pytest.raises(OutputTooLong):
        pipe(ENDLESS, ["cat"], timeout=60)


def test_a_child_that_escaped_is_not_waited_for_beyond_the_time_limit(escaping: Sequence[str]) -> None:
    with pytest.raises(CommandTimedOut):
        run(escaping, timeout=2)


@pytest.mark.parametrize("said", ["one\nhostenv-node: forged", "\x1b[2Jone", "\x85one\u2028two", "\r\n\0"])
def test_what_a_failed_program_says_is_one_printable_line(said: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        run(["/bin/sh", "-c", "cat >&2; exit 3"], timeout=60, stdin=said.encode())
    assert "status 3" in str(caught.value)
    assert str(caught.value).isprintable()


def test_the_end_of_what_a_failed_program_says_is_kept() -> None:
    with pytest.raises(CommandFailed, match=r"the cause$") as caught:
        run(
            ["/bin/sh", "-c", "cat >&2; exit 3"],
            timeout=60,
            stdin=b"\n" * 100_000 + b"x" * 100_000 + b" the cause",
        )
    assert len(str(caught.value)) < 5000
