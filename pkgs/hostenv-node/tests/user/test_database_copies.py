"""The database on its way into a backup and out of it: the node's own files and options, a real MariaDB."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment.entry import Environment
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.render.files import render
from hostenv_node.user import database
from hostenv_node.user.losses import find
from hostenv_node.user.process import UserProcess
from runtime_support import needs

pytestmark = [needs("mariadbd"), needs("mariadb-install-db"), needs("mariadb-dump"), needs("mariadb-backup")]

KEY = "drupal-migrate"
MIB = 1 << 20
START_SECONDS = 120
AS_ROOT = ["--user=root"] if os.geteuid() == 0 else []

# The demo's own tables would hide what is special here.
CONTENT = f"""
ALTER DATABASE drupal COLLATE utf8mb4_unicode_520_ci COMMENT 'the shop''s';
CREATE TABLE large (id INT PRIMARY KEY, a LONGBLOB, b LONGBLOB);
INSERT INTO large VALUES (1, REPEAT(CHAR(0), {40 * MIB}), ''),
  (2, REPEAT('a', {40 * MIB}), REPEAT('\\r', {40 * MIB}));
CREATE SEQUENCE numbers START WITH 7;
CREATE TABLE numbered (id INT PRIMARY KEY DEFAULT NEXTVAL(numbers), v INT);
INSERT INTO numbered (v) VALUES (1), (2);
CREATE TABLE versioned (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING;
INSERT INTO versioned VALUES (1, 1);
UPDATE versioned SET v = 2;
DELETE FROM versioned;
DELIMITER //
CREATE PROCEDURE p() BEGIN\r\n  SELECT 1;\r\nEND//
CREATE TRIGGER t BEFORE INSERT ON numbered FOR EACH ROW\r\nSET NEW.v = NEW.v//
CREATE EVENT e ON SCHEDULE EVERY 1 SECOND DO\r\nINSERT INTO numbered (v) VALUES (99)//
"""

BY_TRANSACTIONS = """
CREATE TABLE t (id INT, a BIGINT UNSIGNED GENERATED ALWAYS AS ROW START,
  b BIGINT UNSIGNED GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (a, b)) WITH SYSTEM VERSIONING;
"""

# What no dump of one database holds.
MORE = """
CREATE TABLE f (f FLOAT);
INSERT INTO f VALUES (16777215);
CREATE TABLE old (id INT) ENGINE=MyISAM;
INSERT INTO old VALUES (1), (2);
CREATE DATABASE `other one`;
CREATE TABLE `other one`.t (id INT);
INSERT INTO `other one`.t VALUES (3);
CREATE USER shop@'%' IDENTIFIED BY 'secret';
GRANT SELECT ON drupal.* TO shop@'%';
CREATE DEFINER = shop@'%' VIEW v AS SELECT f FROM f;
"""

MORE_OF_THE_PICTURE = (
    "SELECT CAST(f AS DOUBLE) FROM drupal.f",
    "SELECT id FROM drupal.old",
    "SELECT id FROM `other one`.t",
    "SHOW CREATE USER shop@'%'",
    "SHOW GRANTS FOR shop@'%'",
    "SHOW CREATE VIEW drupal.v",
    "SELECT id, a, b FROM drupal.t FOR SYSTEM_TIME ALL ORDER BY a",
)

PICTURE = (
    "SHOW CREATE DATABASE drupal",
    "CHECKSUM TABLE drupal.large, drupal.numbered EXTENDED",
    "SHOW CREATE TABLE drupal.numbered",
    "SELECT *, row_start, row_end FROM drupal.versioned FOR SYSTEM_TIME ALL ORDER BY row_start",
    "SELECT HEX(routine_definition) FROM information_schema.routines WHERE routine_schema = 'drupal'",
    "SELECT HEX(action_statement) FROM information_schema.triggers WHERE trigger_schema = 'drupal'",
    "SELECT HEX(event_definition), status FROM information_schema.events WHERE event_schema = 'drupal'",
    "SELECT @@global.event_scheduler",
)


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    # MariaDB lets in who has the system's account of that name.
    user = pwd.getpwuid(os.geteuid()).pw_name
    run_dir = Path(tempfile.mkdtemp(prefix="hostenv-", dir="/tmp"))
    yield Layout(user, 1002, "drupal", tmp_path / "home", tmp_path / "frozen", run_dir)
    shutil.rmtree(run_dir)


@pytest.fixture
def config(config: Config, tmp_path: Path) -> Config:
    """With a restic that keeps the copies."""
    restic = tmp_path / "restic"
    restic.write_text(f"#!/bin/sh\ncp -a backup/{KEY} {tmp_path}/copies\n")
    restic.chmod(0o755)
    return replace(config, tools={**config.tools, "restic": str(restic)})


@pytest.fixture
def process(environment: Environment, layout: Layout, config: Config, tmp_path: Path) -> UserProcess:
    """The environment's side, its files written and its data folder fresh; units are started by the tests."""
    rendered = render(environment, layout, config)
    for directory in (*rendered.directories, str(layout.runtime_dir)):
        Path(directory).mkdir(parents=True, exist_ok=True)
    for file in rendered.files:
        Path(file.path).write_text(file.content)
        os.chmod(file.path, file.mode)
    installer = Path(config.tool("mariadb-install-db"))
    played = {
        "mariadb-install-db": f'exec {installer} "$@" --basedir={installer.resolve().parent.parent} '
        + " ".join(AS_ROOT),
        "systemctl": "",
    }
    for name, text in played.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    tools = {**config.tools, **{name: str(tmp_path / name) for name in played}}
    made = UserProcess(layout, tools, Deadline.after(600))
    database.initialise(made, layout.mysql_dir)
    return made


@contextmanager
def running(layout: Layout, unit: str, socket: Path, log: Path) -> Iterator[None]:
    """MariaDB as the unit starts it."""
    text = (layout.units_dir / unit).read_text().replace("\\\n", "")
    command = next(line for line in text.splitlines() if line.startswith("ExecStart=")).split()
    argv: Sequence[str] = [command[0].removeprefix("ExecStart="), *command[1:], *AS_ROOT]
    with log.open("ab") as output:
        server = subprocess.Popen(argv, stdout=output, stderr=output)
    try:
        end = time.monotonic() + START_SECONDS
        while not socket.exists():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait(60)


@contextmanager
def source(process: UserProcess, tmp_path: Path, content: str) -> Iterator[None]:
    layout = process.layout
    with running(layout, layout.mysql_unit, layout.mysql_socket, tmp_path / "source.log"):
        database.create_database(process, layout.mysql_socket)
        argv = [layout.bin_dir / "mysql", "--binary-mode"]
        subprocess.run(argv, input=content.encode(), check=True, timeout=300)
        yield


@contextmanager
def target(process: UserProcess, tmp_path: Path) -> Iterator[None]:
    """The server of a restore, with what the source's backup made."""
    layout = process.layout
    copies, folder = tmp_path / "copies", layout.restore_dir / layout.mysql_dir.name
    dump = copies / layout.dump(KEY).name
    if dump.exists():
        database.initialise(process, folder)
    else:
        base = copies / layout.base(KEY).name
        database.make_consistent(process, base)
        folder.parent.mkdir()
        base.rename(folder)
    with running(layout, layout.restore_unit, layout.restore_socket, tmp_path / "target.log"):
        if dump.exists():
            database.create_database(process, layout.restore_socket)
            database.import_dump(process, layout.restore_socket, dump)
        yield


def back_up(layout: Layout, *, physical: bool) -> None:
    if not physical:
        layout.dump_wanted(KEY).touch()
    done = subprocess.run([layout.config_dir / f"backup-{KEY}"], check=False, timeout=300)
    assert done.returncode == 0, layout.backup_summary(KEY).with_suffix(".json.errors").read_text()


def picture(process: UserProcess, socket: Path, more: Sequence[str] = ()) -> dict[str, str]:
    return {statement: database.query(process, socket, statement) for statement in (*PICTURE, *more)}


def test_what_a_dump_can_hold_arrives_as_it_was(process: UserProcess, tmp_path: Path) -> None:
    layout = process.layout
    with source(process, tmp_path, CONTENT):
        before = picture(process, layout.mysql_socket)
        back_up(layout, physical=False)
    with target(process, tmp_path):
        assert picture(process, layout.restore_socket) == before
        # An insert by the default comes after those that were.
        statement = "INSERT INTO drupal.numbered (v) VALUES (3); SELECT MAX(id) > 8 FROM drupal.numbered"
        assert database.query(process, layout.restore_socket, statement).split() == ["1"]


def test_a_copy_of_the_files_holds_everything(process: UserProcess, tmp_path: Path) -> None:
    layout = process.layout
    with source(process, tmp_path, CONTENT + "DELIMITER ;\n" + MORE + BY_TRANSACTIONS):
        database.query(process, layout.mysql_socket, "INSERT INTO drupal.t (id) VALUES (1)")
        database.query(process, layout.mysql_socket, "UPDATE drupal.t SET id = 2")
        before = picture(process, layout.mysql_socket, MORE_OF_THE_PICTURE)
        back_up(layout, physical=True)
    with target(process, tmp_path):
        assert picture(process, layout.restore_socket, MORE_OF_THE_PICTURE) == before


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("rm *_info", "was interrupted; migrate again"),
        ("sed -i 's/^server_version.*/server_version = 9.9.1-MariaDB/' *_info", r"MariaDB 9\.9, here is 1"),
    ],
)
def test_a_copy_that_is_no_good_here_is_refused(
    process: UserProcess, tmp_path: Path, spoil: str, words: str
) -> None:
    layout = process.layout
    with source(process, tmp_path, ""):
        back_up(layout, physical=True)
    base = tmp_path / "copies" / layout.base(KEY).name
    subprocess.run(["sh", "-c", spoil], cwd=base, check=True, timeout=60)
    with pytest.raises(OperationFailed, match=words):
        database.make_consistent(process, base)


def test_what_a_dump_cannot_hold_is_found_before(process: UserProcess, tmp_path: Path) -> None:
    layout = process.layout
    content = """
    CREATE TABLE f (id INT, f FLOAT, g FLOAT(10,2), d DOUBLE, e FLOAT AS (f) VIRTUAL);
    CREATE VIEW v AS SELECT f FROM f;
    CREATE TABLE h (id INT) WITH SYSTEM VERSIONING;
    """
    with source(process, tmp_path, content):
        found = {"floats": ["f.f"], "databases": [], "accounts": [], "histories": [], "memory": []}
        assert find(process) == found
        content = """
        CREATE DATABASE `other\tone`; CREATE USER shop@'%'; CREATE ROLE editor;
        CREATE TABLE m (id INT) ENGINE=MEMORY; INSERT INTO m VALUES (1); CREATE TABLE n LIKE m;
        """
        subprocess.run(
            [layout.bin_dir / "mysql"], input=(content + BY_TRANSACTIONS).encode(), check=True, timeout=60
        )
        assert find(process) == {
            "floats": ["f.f"],
            "databases": ["other\\tone"],
            "accounts": ["editor", "shop@%"],
            "histories": ["h", "t"],
            "memory": ["drupal.m"],
        }


def test_a_history_of_transactions_does_not_keep_the_rows_from_moving(
    process: UserProcess, tmp_path: Path
) -> None:
    layout = process.layout
    with source(process, tmp_path, f"{BY_TRANSACTIONS} INSERT INTO t (id) VALUES (5);"):
        back_up(layout, physical=False)
    with target(process, tmp_path):
        rows = database.query(process, layout.restore_socket, "SELECT id FROM drupal.t")
        assert rows.split() == ["5"]
