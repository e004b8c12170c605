"""What changes on a live site arrives: two real MariaDB servers, two folders, and archives between them."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment.entry import Environment
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.render.files import render
from hostenv_node.user import binlog, database, delta
from hostenv_node.user.binlog import Position
from hostenv_node.user.process import UserProcess
from runtime_support import needs

pytestmark = [
    needs("mariadbd"),
    needs("mariadb-install-db"),
    needs("mariadb-backup"),
    needs("mariadb-binlog"),
]

KEY = "drupal-migrate"
START_SECONDS = 120
AS_ROOT = ["--user=root"] if os.geteuid() == 0 else []


class Side:
    """An environment on one of two nodes, with the server that its unit starts."""

    def __init__(self, name: str, environment: Environment, config: Config, folder: Path) -> None:
        user = pwd.getpwuid(os.geteuid()).pw_name
        self.run_dir = Path(tempfile.mkdtemp(prefix="hostenv-", dir="/tmp"))
        self.layout = Layout(user, 1002, "drupal", folder / name, folder / f"{name}-frozen", self.run_dir)
        self.log = folder / f"{name}.log"
        self.server: subprocess.Popen[bytes] | None = None
        rendered = render(environment, self.layout, config)
        for directory in (*rendered.directories, str(self.layout.runtime_dir)):
            Path(directory).mkdir(parents=True, exist_ok=True)
        for file in rendered.files:
            Path(file.path).write_text(file.content)
            os.chmod(file.path, file.mode)
        for data in (self.layout.files_dir, self.layout.private_files_dir):
            data.mkdir(parents=True)
        self.process = UserProcess(self.layout, config.tools, Deadline.after(600))

    def start(self) -> None:
        argv = [*self.process.tools["mariadbd"].split(), f"--defaults-file={self.layout.config_dir}/my.cnf"]
        with self.log.open("ab") as output:
            self.server = subprocess.Popen([*argv, *AS_ROOT], stdout=output, stderr=output)
        end = time.monotonic() + START_SECONDS
        while not self.layout.mysql_socket.exists():
            assert self.server.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def end(self, *, killed: bool = False) -> None:
        if self.server is not None:
            self.server.kill() if killed else self.server.terminate()
            self.server.wait(60)
            self.layout.mysql_socket.unlink(missing_ok=True)
            self.server = None

    def sql(self, *statements: str) -> str:
        return database.query(self.process, self.layout.mysql_socket, ";".join(statements))


@pytest.fixture
def config(config: Config, tmp_path: Path) -> Config:
    """With a restic that keeps the copies."""
    restic = tmp_path / "restic"
    restic.write_text(f"#!/bin/sh\ncp -a backup/{KEY} {tmp_path}/copies\n")
    restic.chmod(0o755)
    installer = Path(config.tool("mariadb-install-db"))
    install = tmp_path / "mariadb-install-db"
    base = installer.resolve().parent.parent
    install.write_text(f'#!/bin/sh\nexec {installer} "$@" --basedir={base} {" ".join(AS_ROOT)}\n')
    install.chmod(0o755)
    return replace(config, tools={**config.tools, "restic": str(restic), "mariadb-install-db": str(install)})


@pytest.fixture
def sides(environment: Environment, config: Config, tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    """The source with a live site, and the target with the base."""
    source, target = (Side(name, environment, config, tmp_path) for name in ("source", "target"))
    try:
        database.initialise(source.process, source.layout.mysql_dir)
        source.start()
        database.create_database(source.process, source.layout.mysql_socket)
        source.sql(
            "USE drupal",
            "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v TEXT)",
            "INSERT INTO t (v) VALUES ('a')",
        )
        files = source.layout.files_dir
        (files / "kept").write_text("kept")
        (files / "gone").mkdir()
        (files / "gone/one").write_text("one")
        delta.begin(source.process)
        (files / "early").write_text("written while the base is made")
        subprocess.run([source.layout.config_dir / f"backup-{KEY}"], check=True, timeout=300)
        base = tmp_path / "copies/mysql"
        place = source.layout.base_position(KEY).read_text()
        delta.based(source.process, Position.of_line(place))
        database.make_consistent(target.process, base)
        base.rename(target.layout.mysql_dir)
        subprocess.run(["cp", "-aT", files, target.layout.files_dir], check=True, timeout=60)
        target.start()
        yield source, target
    finally:
        for side in (source, target):
            side.end(killed=True)
            shutil.rmtree(side.run_dir)


def carry(source: Side, target: Side, number: int, *, compare: bool = False, still: bool = False) -> None:
    if still:
        assert delta.make_rest(source.process) == number
        unpack(target, number, source.layout.rest(number))
    else:
        unpack(target, number, delta.make(source.process, number, compare=compare))
    delta.take_in(target.process, number)


def unpack(target: Side, number: int, archive: Path) -> None:
    folder = target.layout.incoming(number)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-xf", archive, "-C", folder], check=True, timeout=60)


def listing(side: Side) -> str:
    names = "find . -printf '%P %y %m %s %T@ %n %l\\n' | LC_ALL=C sort"
    contents = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum"
    argv = ["sh", "-c", f"cd {side.layout.files_dir} && {names} && {contents}"]
    return subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout.decode(errors="replace")


def same(source: Side, target: Side) -> None:
    assert listing(target) == listing(source)
    tables = binlog.transactional_tables(source.process)
    assert binlog.transactional_tables(target.process) == tables
    assert binlog.checksums(target.process, tables) == binlog.checksums(source.process, tables)


def test_rows_tables_and_accounts_arrive(sides: tuple[Side, Side]) -> None:
    source, target = sides
    source.sql(
        "INSERT INTO drupal.t (v) VALUES ('b')", "CREATE DATABASE other", "CREATE TABLE other.f (f FLOAT)"
    )
    carry(source, target, 1, compare=True)
    source.sql(
        "INSERT INTO other.f VALUES (16777215)", "FLUSH BINARY LOGS", "DELETE FROM drupal.t WHERE v = 'a'"
    )
    source.sql("CREATE USER shop@'%' IDENTIFIED BY 'x'", "ALTER TABLE drupal.t ADD COLUMN n INT DEFAULT 7")
    carry(source, target, 2, compare=True)
    carry(source, target, 3, still=True)
    same(source, target)
    assert target.sql("SHOW CREATE USER shop@'%'") == source.sql("SHOW CREATE USER shop@'%'")


def test_files_arrive_as_they_are(sides: tuple[Side, Side]) -> None:
    source, target = sides
    files = source.layout.files_dir
    carry(source, target, 1)
    shutil.rmtree(files / "gone")
    (files / "gone").write_text("a file where a folder was")
    (files / "kept").rename(files / "renamed")
    os.mkdir(os.fsencode(files) + b"/d\xff")
    (Path(os.fsdecode(os.fsencode(files) + b"/d\xff")) / "x\ny").write_text("odd")
    (files / "link").symlink_to("/etc/passwd")
    (files / "twin").hardlink_to(files / "renamed")
    (files / "shut").mkdir()
    (files / "shut/in").write_text("in")
    (files / "shut").chmod(0o555)
    (files / "early").chmod(0o600)
    with (files / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 24)
    carry(source, target, 2)
    carry(source, target, 3, still=True)
    same(source, target)
    assert (target.layout.files_dir / "sparse").stat().st_blocks < 1000


def test_an_archive_is_made_once(sides: tuple[Side, Side]) -> None:
    source, target = sides
    first = delta.make(source.process, 1, compare=False)
    before = first.read_bytes()
    source.sql("INSERT INTO drupal.t (v) VALUES ('later')")
    assert delta.make(source.process, 1, compare=False).read_bytes() == before
    unpack(target, 1, first)
    delta.take_in(target.process, 1)
    carry(source, target, 2)
    same(source, target)


def test_what_was_taken_in_is_not_done_twice(sides: tuple[Side, Side]) -> None:
    source, target = sides
    source.sql(*(f"INSERT INTO drupal.t (v) VALUES ('{number}')" for number in range(200)))
    archive = delta.make(source.process, 1, compare=True)
    unpack(target, 1, archive)
    delta.take_in(target.process, 1)
    target.end(killed=True)
    target.start()
    unpack(target, 1, archive)
    delta.take_in(target.process, 1)
    carry(source, target, 2, compare=True)
    same(source, target)


def test_a_source_that_boots_is_waited_for(sides: tuple[Side, Side], tmp_path: Path) -> None:
    source, target = sides
    source.sql("INSERT INTO drupal.t (v) VALUES ('before the power cut')")
    source.end(killed=True)
    command = " ".join(
        [source.process.tools["mariadbd"], f"--defaults-file={source.layout.config_dir}/my.cnf"]
    )
    manager = tmp_path / "manager"
    manager.write_text(
        f"#!/bin/sh\ncase $* in *'start mysql.service') ;; *) exit ;; esac\n"
        f"{command} {' '.join(AS_ROOT)} >>{source.log} 2>&1 &\necho $! >{tmp_path}/pid\n"
        f"until [ -S {source.layout.mysql_socket} ]; do sleep 0.1; done\n"
    )
    manager.chmod(0o755)
    source.process = replace(source.process, tools={**source.process.tools, "systemctl": str(manager)})
    try:
        carry(source, target, 1, compare=True)
        same(source, target)
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_a_difference_is_named(sides: tuple[Side, Side]) -> None:
    source, target = sides
    target.sql("SET sql_log_bin = 0", "UPDATE drupal.t SET v = 'other'")
    with pytest.raises(OperationFailed, match=r"not as on the source: drupal\.t; start the move again"):
        carry(source, target, 1, compare=True)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("[")])
def test_what_a_customer_spoils_of_the_rounds_ends_the_move_in_words(
    sides: tuple[Side, Side], spoil: Callable[[Path], object]
) -> None:
    source, target = sides
    spoil(source.layout.sync_dir / "state-0.json")
    with pytest.raises(OperationFailed, match=r"state-0\.json.* is gone or spoilt; start the move again"):
        delta.make(source.process, 1, compare=False)
    target.layout.sync_dir.mkdir()
    (target.layout.sync_dir / "taken-in.json").write_text("7")
    with pytest.raises(OperationFailed, match=r"taken-in\.json.* is spoilt; start the move again"):
        delta.taken_in(target.process)
