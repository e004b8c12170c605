"""A fresh data folder of the environment's MariaDB, with MariaDB's own program played."""

from pathlib import Path

import pytest
from hostenv_node.deadline import Deadline
from hostenv_node.environment.layout import Layout
from hostenv_node.user import database
from hostenv_node.user.process import UserProcess


@pytest.fixture
def process(layout: Layout, tmp_path: Path) -> UserProcess:
    program = tmp_path / "mariadb-install-db"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/options\n')
    program.chmod(0o755)
    return UserProcess(layout, {program.name: str(program)}, Deadline.after(60))


def test_only_the_environments_user_gets_in_and_without_a_password(
    process: UserProcess, layout: Layout, tmp_path: Path
) -> None:
    database.initialise(process, tmp_path / "data")
    options = (tmp_path / "options").read_text().splitlines()
    assert options[0] == "--no-defaults"
    assert {
        f"--datadir={tmp_path / 'data'}",
        "--auth-root-authentication-method=socket",
        f"--auth-root-socket-user={layout.user}",
        "--skip-test-db",
    } <= set(options)


def test_what_an_initialisation_left_that_was_cut_short_is_not_kept(
    process: UserProcess, tmp_path: Path
) -> None:
    half = tmp_path / "data/half"
    half.parent.mkdir()
    half.touch()
    database.initialise(process, tmp_path / "data")
    assert not half.exists()
