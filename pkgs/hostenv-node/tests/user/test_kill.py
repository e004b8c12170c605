"""Ending what a user runs, tried with real processes of a user that nobody else is."""

import multiprocessing
import os
import signal
import subprocess
from dataclasses import replace

import pytest
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.user import kill
from hostenv_node.user.process import UserProcess

STRANGER = 64123


def end_as(uid: int, process: UserProcess) -> int | None:
    """The exit status of a process of that user which ends all others of it."""

    def end() -> None:
        os.setuid(uid)
        kill.all_others(replace(process, layout=replace(process.layout, uid=uid)))

    ending = multiprocessing.get_context("fork").Process(target=end)
    ending.start()
    ending.join()
    return ending.exitcode


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes another user")
def test_a_process_that_nothing_else_ends_is_killed(process: UserProcess) -> None:
    stubborn = "trap '' TERM HUP; setsid sh -c 'echo; while :; do sleep 60; done' &"
    command = ["setsid", "sh", "-c", f"{stubborn} while :; do sleep 60; done"]
    stranger = subprocess.Popen(command, user=STRANGER, group=STRANGER, stdout=subprocess.PIPE)
    try:
        assert stranger.stdout is not None
        stranger.stdout.readline()
        assert end_as(STRANGER, process) == 0
        # Nobody holds the other end of the pipe any more, so that both have ended.
        assert stranger.stdout.read() == b""
    finally:
        stranger.kill()
        stranger.communicate()
    assert stranger.returncode == -signal.SIGKILL


def test_it_never_ends_the_processes_of_anybody_else(process: UserProcess, layout: Layout) -> None:
    elsewhere = replace(process, layout=replace(layout, uid=os.getuid() + 1))
    with pytest.raises(OperationFailed, match="not those of"):
        kill.all_others(elsewhere)
