"""A restore from the snapshot to the live data; restic and MariaDB are played, the folders are real."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hostenv_node.deadline import Deadline
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.user import database
from hostenv_node.user import restore as module
from hostenv_node.user.process import UserProcess

FOLDERS = ("mysql", "files", "private_files", "sessions")
FIRST, SECOND = "ab" * 32, "cd" * 32


class Backups:
    """The command `restic-<key>`: it notes what it is told and restores that snapshot's id as all content."""

    def __init__(self, layout: Layout, calls: Path) -> None:
        self.calls_file = calls
        self.command = layout.bin_dir / "restic-drupal-migrate"
        self.command.parent.mkdir(parents=True)
        self.whole = "-- Dump completed"
        self.base = False
        self.folders = "files private_files"
        self.sessions = (
            "mkdir $4/backup/drupal-migrate/sessions; echo $5 >$4/backup/drupal-migrate/sessions/data"
        )
        self.write()

    def write(self) -> None:
        self.command.write_text(
            f'#!/bin/sh\nset -e\necho "$*" >>{self.calls_file}\n'
            f'for folder in {self.folders}; do mkdir -p "$4/$folder"; echo $5 >"$4/$folder/data"; done\n'
            f'mkdir -p "$4/backup/drupal-migrate"\n{self.sessions}\n'
            + (self._base() if self.base else "")
            + f'printf "%s\\n%s\\n" $5 "{self.whole}" >"$4/backup/drupal-migrate/database.sql"\n'
        )
        self.command.chmod(0o755)

    def _base(self) -> str:
        return 'mkdir "$4/backup/drupal-migrate/mysql"; echo $5 >"$4/backup/drupal-migrate/mysql/data"\n'

    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []


@pytest.fixture
def backups(layout: Layout, tmp_path: Path) -> Backups:
    return Backups(layout, tmp_path / "restic-calls")


@pytest.fixture
def restore(layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def initialise(_process: UserProcess, directory: Path) -> None:
        directory.mkdir()

    def import_dump(_process: UserProcess, _socket: Path, dump: Path) -> None:
        (layout.restore_dir / "mysql/data").write_text(dump.read_text().splitlines()[0] + "\n")

    monkeypatch.setattr(database, "initialise", initialise)
    monkeypatch.setattr(database, "create_database", lambda *_: None)
    monkeypatch.setattr(database, "make_consistent", lambda _, base: (base / "consistent").touch())
    monkeypatch.setattr(database, "import_dump", import_dump)
    monkeypatch.setattr(database, "query", lambda *_: "")
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\ncase $* in *Result*) cat {tmp_path}/result ;; esac\n")
    (tmp_path / "result").write_text("success\n")
    systemctl.chmod(0o755)
    layout.state_dir.mkdir(parents=True)
    for name in FOLDERS:
        (layout.data_dir / name).mkdir(parents=True)
        (layout.data_dir / name / "data").write_text("old\n")
    process = UserProcess(layout, {"systemctl": str(systemctl)}, Deadline.after(600))

    def run(job: str = "job-1", snapshot: str = FIRST) -> None:
        module.restore(process, job, "drupal-migrate", snapshot)

    return run


def no_power(*_: object) -> None:
    raise KeyboardInterrupt


def content(parent: Path) -> set[str]:
    return {(parent / name / "data").read_text().strip() for name in FOLDERS}


def test_exactly_the_named_snapshot_takes_the_place_of_the_data(
    restore: Callable[..., None], layout: Layout, backups: Backups
) -> None:
    restore()
    assert backups.calls() == [f"restore --quiet --target {layout.restore_dir} {FIRST}"]
    assert content(layout.data_dir) == {FIRST}
    assert content(layout.set_aside("job-1")) == {"old"}
    assert not layout.restore_dir.exists()


def test_a_copy_of_the_files_is_the_database(
    restore: Callable[..., None], layout: Layout, backups: Backups
) -> None:
    backups.base = True
    backups.write()
    restore()
    assert content(layout.data_dir) == {FIRST}
    assert (layout.mysql_dir / "consistent").exists()


def test_an_installation_that_the_old_data_had_begun_does_not_go_on_with_the_new(
    restore: Callable[..., None], layout: Layout, backups: Backups
) -> None:
    (layout.state_dir / "installing").touch()
    restore()
    assert len(backups.calls()) == 1
    assert not (layout.state_dir / "installing").exists()


def test_a_restore_that_is_done_is_not_done_again(
    restore: Callable[..., None], layout: Layout, backups: Backups
) -> None:
    restore()
    (layout.files_dir / "data").write_text("written since\n")
    restore()
    assert len(backups.calls()) == 1
    assert (layout.files_dir / "data").read_text() == "written since\n"


@pytest.mark.parametrize("snapshot", [FIRST, SECOND])
def test_what_one_job_restored_is_not_done_for_another(
    restore: Callable[..., None], layout: Layout, backups: Backups, snapshot: str
) -> None:
    restore()
    restore("job-2", snapshot)
    assert [call.split()[-1] for call in backups.calls()] == [FIRST, snapshot]
    assert content(layout.data_dir) == {snapshot}
    assert content(layout.set_aside("job-1")) == {"old"}
    assert content(layout.set_aside("job-2")) == {FIRST}


def test_what_was_prepared_of_another_snapshot_is_not_used(
    restore: Callable[..., None], layout: Layout, backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "swap", no_power)
        with pytest.raises(KeyboardInterrupt):
            restore(snapshot=FIRST)
    restore(snapshot=SECOND)
    assert content(layout.data_dir) == {SECOND}
    restore(snapshot=SECOND)
    assert [call.split()[-1] for call in backups.calls()] == [FIRST, SECOND]


def test_what_was_prepared_is_not_prepared_again(
    restore: Callable[..., None], layout: Layout, backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "swap", no_power)
        with pytest.raises(KeyboardInterrupt):
            restore()
    restore()
    assert len(backups.calls()) == 1
    assert content(layout.data_dir) == {FIRST}
    assert content(layout.set_aside("job-1")) == {"old"}


def test_a_snapshot_of_an_earlier_version_has_no_sessions(
    restore: Callable[..., None], layout: Layout, backups: Backups
) -> None:
    backups.sessions = ""
    backups.write()
    restore()
    assert list(layout.sessions_dir.iterdir()) == []
    assert layout.sessions_dir.stat().st_mode & 0o777 == 0o700
    assert content(layout.set_aside("job-1")) == {"old"}


@pytest.mark.parametrize(
    ("whole", "folders", "complaint"),
    [
        ("-- cut sh", "files private_files", "no whole database"),
        ("-- Dump completed", "files", "~/.local/share/private_files was no folder"),
        ("-- Dump completed", "private_files", "~/.local/share/files was no folder"),
    ],
)
def test_a_snapshot_that_is_not_whole_leaves_the_data_alone(
    restore: Callable[..., None], layout: Layout, backups: Backups, whole: str, folders: str, complaint: str
) -> None:
    backups.whole, backups.folders = whole, folders
    backups.write()
    with pytest.raises(OperationFailed, match=complaint):
        restore()
    assert content(layout.data_dir) == {"old"}
    assert not layout.set_aside("job-1").exists()


def test_data_of_a_server_that_did_not_end_well_are_not_used(
    restore: Callable[..., None], layout: Layout, backups: Backups, tmp_path: Path
) -> None:
    (tmp_path / "result").write_text("signal\n")
    with pytest.raises(OperationFailed, match=r"mysql-restore\.service did not end well \(signal\)"):
        restore()
    assert content(layout.data_dir) == {"old"}
    (tmp_path / "result").write_text("success\n")
    restore()
    assert len(backups.calls()) == 2
    assert content(layout.data_dir) == {FIRST}


def test_a_link_in_a_snapshot_is_called_one_even_if_it_leads_somewhere(
    restore: Callable[..., None], layout: Layout, backups: Backups, tmp_path: Path
) -> None:
    with backups.command.open("a") as script:
        script.write(f'rm -r "$4/files"; ln -s {tmp_path} "$4/files"\n')
    with pytest.raises(OperationFailed, match=r"^~/\.local/share/files was a link .* put a folder"):
        restore()
    assert content(layout.data_dir) == {"old"}
