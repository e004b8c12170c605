"""The scripts as nixpkgs looks at them when it builds the NixOS test driver: with its types."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
SCRIPTS = [
    TESTS / "script.py",
    *(
        path
        for folder in ("scenarios", "nixos")
        for path in sorted((TESTS / folder).glob("*.py"))
        if not path.name.startswith("test_")
    ),
]
# What is in scope, as the driver's own types have it; scripts that run in the lab too use no more of it.
SCOPE = """\
from unittest import TestCase

from hostenv_scenarios.driver import Log, Machine, Retry, Subtest

class QemuMachine(Machine):
    def fail(self, *commands: str, timeout: int | None = None) -> str: raise NotImplementedError
    def shutdown(self) -> None: ...
    def copy_from_machine(self, source: str, target_dir: str = "") -> None: ...
    def wait_for_file(self, filename: str, timeout: int = 900) -> None: ...
    def wait_for_open_port(self, port: int, addr: str = "localhost", timeout: int = 900) -> None: ...
    def wait_for_open_unix_socket(
        self, addr: str, is_datagram: bool = False, timeout: int = 900
    ) -> None: ...
    def wait_until_fails(self, command: str, timeout: int = 900) -> str: raise NotImplementedError

def create_machine() -> QemuMachine: raise NotImplementedError
def start_all() -> None: ...
def join_all() -> None: ...
def given() -> tuple[Log, Retry, Subtest]: raise NotImplementedError

node_a, node_b, provider = create_machine(), create_machine(), create_machine()
machines = [node_a, node_b, provider]
log, retry, subtest = given()
t = TestCase()
"""


def test_the_scripts_have_the_drivers_types(tmp_path: Path) -> None:
    whole = []
    for script in SCRIPTS:
        whole.append(tmp_path / script.name)
        whole[-1].write_text(SCOPE + script.read_text(encoding="utf-8"), encoding="utf-8")
    # as nixpkgs called it until 2026; `ty`, which came then, finds less in code that says no types
    command = [sys.executable, "-m", "mypy", "--no-implicit-optional", "--config-file="]
    done = subprocess.run(
        [*command, f"--cache-dir={tmp_path / 'cache'}", *map(str, whole)],
        env={"MYPYPATH": str(TESTS / "scenarios"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
