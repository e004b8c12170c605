"""An environment's own MariaDB, really running, and the command of its unit that ends it."""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment.entry import Environment
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.render.files import my_cnf
from hostenv_node.render.units import units
from hostenv_node.user import database
from hostenv_node.user.process import UserProcess
from runtime_support import needs

pytestmark = [
    needs("mariadbd"),
    # Whoever runs the tests is the user who gets in.
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]


@pytest.fixture
def own(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return replace(layout, user="root", run_dir=tmp_path_factory.mktemp("r"))


@pytest.fixture
def server(config: Config, own: Layout) -> Iterator[subprocess.Popen[bytes]]:
    for folder in (own.config_dir, own.runtime_dir, own.cache_dir / "tmp"):
        folder.mkdir(parents=True)
    process = UserProcess(own, config.tools, Deadline.after(120))
    database.initialise(process, own.mysql_dir)
    (own.config_dir / "my.cnf").write_text(my_cnf(own))
    argv = [config.tool("mariadbd"), f"--defaults-file={own.config_dir}/my.cnf", "--user=root"]
    running = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not own.mysql_socket.exists() and running.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        yield running
    finally:
        running.kill()
        running.wait(60)


def test_the_units_own_command_ends_it(
    config: Config, environment: Environment, own: Layout, server: subprocess.Popen[bytes]
) -> None:
    text = units(environment, own, config, "/usr/bin")[own.mysql_unit].replace("\\\n", "")
    line = next(line for line in text.splitlines() if line.startswith("ExecStop=-"))
    subprocess.run(shlex.split(line.removeprefix("ExecStop=-")), check=True, timeout=60)
    assert server.wait(60) == 0


def test_one_that_its_user_has_stopped_is_not_waited_for_as_long_as_the_action_may_take(
    config: Config, own: Layout, server: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_CONNECT_SECONDS", 1)
    process = UserProcess(own, config.tools, Deadline.after(60))
    server.send_signal(signal.SIGSTOP)
    with pytest.raises(OperationFailed, match=r"MariaDB of root does not answer"):
        database.create_database(process, own.mysql_socket)
