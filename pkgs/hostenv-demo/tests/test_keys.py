"""Keys on a real pseudo-terminal."""

import os
import pty
import subprocess
import sys

import pytest

PROGRAM = """
from hostenv_demo import keys
keys.check()
for _ in range(2):
    print(repr(keys.read(lambda: print("?", end="", flush=True))), flush=True)
"""


def shown_after(master: int, text: str) -> str:
    found = ""
    while text not in found:
        found += os.read(master, 1024).decode()
    return found


@pytest.mark.parametrize(("pressed", "read"), [("\r", r"'\n'"), ("a", "'a'"), ("\x1b[A", r"'\x1b'")])
def test_one_key_without_enter_and_an_arrow_is_one_key(pressed: str, read: str) -> None:
    master, terminal = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    os.write(master, b"typed before anybody asked")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=terminal, stdout=terminal, env=environment
    ) as process:
        shown_after(master, "?")
        os.write(master, pressed.encode())
        assert read in shown_after(master, "?")
        os.write(master, b"x")
        assert "'x'" in shown_after(master, "'x'")
        assert process.wait(30) == 0
    os.close(terminal)
    os.close(master)
