"""Programs that are started, and their time limits (contract 8: every action has one)."""

import os
import time
from pathlib import Path

import pytest
from hostenv_core.processes import CommandFailed, CommandTimedOut, pipe, reading, run

SHELL = ["/bin/sh", "-c"]


def ended(child: Path) -> None:
    """Return once the process whose number is in `child` is gone."""
    state = Path(f"/proc/{int(child.read_text())}/stat")
    deadline = time.monotonic() + 30
    while state.exists() and ") Z " not in state.read_text():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_what_a_program_says() -> None:
    completed = run([*SHELL, 'cat; echo "$GREETING" >&2'], timeout=30, stdin=b"x", env={"GREETING": "hello"})
    assert (completed.returncode, completed.stdout, completed.stderr) == (0, b"x", b"hello\n")


def test_what_is_written_elsewhere_is_not_kept(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("w+b") as err:
        completed = run(
            [*SHELL, "cat; seq 100000; seq 100000 >&2"], timeout=30, stdout=out.fileno(), stderr=err
        )
        with pytest.raises(CommandFailed, match=r"^make it ended with status 3: .* no space$"):
            run([*SHELL, "echo no space >&2; exit 3"], timeout=30, stderr=err, shown=["make", "it"])
    assert completed.stdout == b""
    assert completed.error_text.endswith("\n100000\n")
    assert (tmp_path / "out").read_bytes().count(b"\n") == 100000
    assert (tmp_path / "err").read_bytes().count(b"\n") == 100001


def test_failure_says_which_program_and_why() -> None:
    with pytest.raises(CommandFailed, match=r"^sh -c .* ended with status 3: no space$"):
        run([*SHELL, "echo no space >&2; exit 3"], timeout=30)
    assert run([*SHELL, "exit 3"], timeout=30, check=False).returncode == 3
    with pytest.raises(CommandFailed, match="cannot start /nonexistent"):
        run(["/nonexistent"], timeout=30)


def test_a_failure_is_told_by_its_last_lines_however_much_was_said_before() -> None:
    statement = "echo context >&2; head -c 20000000 /dev/zero | tr '\\0' x >&2; echo >&2"
    script = f"{statement}; echo ERROR 1153 at line 7 >&2; echo packet too large >&2; exit 1"
    with pytest.raises(CommandFailed, match=r"ended with status 1: ERROR 1153 at line 7 packet too large$"):
        run([*SHELL, script], timeout=60)
    with pytest.raises(CommandFailed, match=r"ended with status 1: ERROR 1153 at line 7 packet too large$"):
        pipe([*SHELL, script], [*SHELL, "cat"], timeout=60)
    with pytest.raises(CommandFailed, match=r"ended with status 1: ERROR 1153 at line 7 packet too large$"):
        pipe(["true"], [*SHELL, script], timeout=60)


def test_a_program_may_complain_at_length_and_succeed() -> None:
    completed = run([*SHELL, "seq 3000000 >&2; echo done"], timeout=60)
    assert completed.text == "done\n"
    assert completed.stderr.endswith(b"\n3000000\n")
    assert len(completed.stderr) <= 1 << 16


def test_of_output_that_nobody_reads_the_end_is_kept() -> None:
    completed = run([*SHELL, "seq 3000000"], timeout=60, whole=False)
    assert completed.stdout.endswith(b"\n3000000\n")
    assert len(completed.stdout) <= 1 << 16


def test_at_the_time_limit_all_that_was_started_ends(tmp_path: Path) -> None:
    with pytest.raises(CommandTimedOut, match="did not end within 1 s"):
        run([*SHELL, f"sleep 600 & echo $! >{tmp_path}/child; wait"], timeout=1)
    ended(tmp_path / "child")


def test_a_pipe_carries_everything() -> None:
    assert pipe([*SHELL, "seq 100000"], [*SHELL, "wc -l"], timeout=60).text.strip() == "100000"


@pytest.mark.parametrize(
    ("producer", "consumer", "complaint"),
    [
        ("echo half; echo broken source >&2; exit 1", "cat", "broken source"),
        ("yes", "echo disk full >&2; exit 1", "disk full"),
    ],
)
def test_half_of_a_pipe_is_a_failure(producer: str, consumer: str, complaint: str) -> None:
    with pytest.raises(CommandFailed, match=complaint):
        pipe([*SHELL, producer], [*SHELL, consumer], timeout=60)


def test_both_ends_of_a_pipe_end_at_the_time_limit(tmp_path: Path) -> None:
    def waiting(name: str) -> list[str]:
        return [*SHELL, f"sleep 600 & echo $! >{tmp_path}/{name}; wait"]

    with pytest.raises(CommandTimedOut):
        pipe(waiting("producer"), waiting("consumer"), timeout=1)
    for name in ("producer", "consumer"):
        ended(tmp_path / name)


def test_what_is_read_comes_as_it_is_written() -> None:
    with reading([*SHELL, "head -n 1; exec cat"], timeout=60, stdin=b"one\n" + bytes(1 << 20)) as stream:
        assert stream.readline() == b"one\n"
        assert len(stream.read()) == 1 << 20


def test_a_program_that_breaks_off_while_it_is_read_has_failed() -> None:
    with (
        pytest.raises(CommandFailed, match="status 3: no such object"),
        reading([*SHELL, "echo half; echo no such object >&2; exit 3"], timeout=60) as stream,
    ):
        stream.read()


def test_reading_ends_at_the_time_limit_with_all_that_was_started(tmp_path: Path) -> None:
    waiting = [*SHELL, f"sleep 600 & echo $! >{tmp_path}/child; wait"]
    with pytest.raises(CommandTimedOut), reading(waiting, timeout=1) as stream:
        stream.read()
    ended(tmp_path / "child")


def test_who_refuses_what_is_read_waits_for_nothing(tmp_path: Path) -> None:
    def refuse_it() -> None:
        with reading([*SHELL, f"echo $$ >{tmp_path}/child; exec yes"], timeout=600) as stream:
            raise ValueError(stream.readline().decode())

    with pytest.raises(ValueError, match="y"):
        refuse_it()
    ended(tmp_path / "child")
