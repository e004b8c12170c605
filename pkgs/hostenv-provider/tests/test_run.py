import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hostenv_provider.run import CommandFailed, CommandTimedOut, OutputTooLong, run


def test_output_without_input() -> None:
    answer = run(
        ["/bin/sh", "-c", 'echo x; cat; echo "$GREETING" >&2'], timeout=30, env={"GREETING": "hello"}
    )

    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "x\n", "hello\n")


def test_failure_says_which_program_and_why_in_one_line() -> None:
    with pytest.raises(CommandFailed, match=r"^sh -c .* ended with status 3: first second$"):
        run(["/bin/sh", "-c", "printf 'first\\nsecond\\n' >&2; exit 3"], timeout=30)

    assert run(["/bin/sh", "-c", "exit 3"], timeout=30, check=False).returncode == 3


def test_a_missing_program() -> None:
    with pytest.raises(CommandFailed, match="cannot start /nonexistent"):
        run(["/nonexistent"], timeout=30)


def test_at_the_time_limit_all_that_was_started_ends(tmp_path: Path) -> None:
    child = tmp_path / "child"

    with pytest.raises(CommandTimedOut, match="did not end within 1 s"):
        run(["/bin/sh", "-c", f"sleep 600 & echo $! > {child}; wait"], timeout=1)

    state = Path(f"/proc/{int(child.read_text())}/stat")
    deadline = time.monotonic() + 30
    while state.exists() and ") Z " not in state.read_text():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_a_child_that_left_the_group_holds_nobody_past_the_time_limit(tmp_path: Path) -> None:
    child, given_up = tmp_path / "child", threading.Event()
    script = f"setsid sleep 600 & while ! pgrep -P $$ -x sleep; do :; done > {child}; wait"

    def call() -> None:
        with suppress(CommandTimedOut):
            run(["/bin/sh", "-c", script], timeout=5)
            return
        given_up.set()

    threading.Thread(target=call, daemon=True).start()
    try:
        assert given_up.wait(60)
    finally:
        os.kill(int(child.read_text()), signal.SIGKILL)


def test_a_program_that_writes_too_much_is_killed() -> None:
    with pytest.raises(OutputTooLong, match="wrote more than 1000 bytes"):
        run(["/bin/sh", "-c", "while :; do echo xxxxxxxxxxxx; done"], timeout=30, most=1000)


def test_the_end_of_many_complaints_is_kept_and_the_program_goes_on() -> None:
    script = "seq 1000000 >&2; echo the reason >&2; echo done; exit"

    answer = run(["/bin/sh", "-c", script], timeout=60, most=1000)

    assert answer.stdout == "done\n"
    assert answer.stderr.endswith("\n1000000\nthe reason\n")
    assert len(answer.stderr) <= 1 << 16
    with pytest.raises(CommandFailed, match=r" 1000000 the reason$"):
        run(["/bin/sh", "-c", f"{script} 1"], timeout=60, most=1000)
