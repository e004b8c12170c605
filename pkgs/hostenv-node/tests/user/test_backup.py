"""The backup script and what becomes of its answer; restic and the database are played, the rest is real."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.render.units import backup_script
from hostenv_node.user.backup import backup
from hostenv_node.user.process import UserProcess

KEY = "drupal-migrate"
SNAPSHOT = "ab" * 32


@pytest.fixture
def script(config: Config, layout: Layout, tmp_path: Path) -> Path:
    """A restic that lists what it shall back up."""
    programs = {
        "mariadb": "",
        "mariadb-dump": "echo 'the dump'",
        "mariadb-backup": 'for last; do :; done; mkdir "${last#*=}"; echo base >"${last#*=}/ibdata1"',
        "restic": (
            f'echo "$*" >>{tmp_path}/calls\n[ "$1" = init ] && exit\n'
            'while [ "$1" != --tag ]; do shift; done; shift 2\n'
            f'find "$@" -type f | sort >{tmp_path}/contents\n'
            f"""echo '{{"message_type":"status"}}'\n"""
            f"""echo '{{"message_type":"summary","snapshot_id":"{SNAPSHOT}"}}'"""
        ),
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    tools = {**config.tools, **{name: str(tmp_path / name) for name in programs}}
    for folder in (layout.files_dir, layout.private_files_dir, layout.sessions_dir, layout.state_dir):
        folder.mkdir(parents=True)
        (folder / "one").touch()
    made = tmp_path / "backup"
    made.write_text(backup_script(layout, replace(config, tools=tools), KEY))
    made.chmod(0o755)
    return made


@pytest.mark.parametrize("database", ["mysql/ibdata1", "database.sql"])
def test_a_snapshot_holds_database_and_files_and_its_tag_is_the_key(
    script: Path, layout: Layout, tmp_path: Path, database: str
) -> None:
    if database == "database.sql":
        layout.dump_wanted(KEY).touch()
    subprocess.run([script], check=True, timeout=60)
    words = (tmp_path / "calls").read_text().split()
    assert words[0] == "backup"
    assert words[words.index("--tag") + 1] == KEY
    assert (tmp_path / "contents").read_text().splitlines() == [
        f"backup/{KEY}/{database}",
        f"backup/{KEY}/sessions/one",
        "files/one",
        "private_files/one",
    ]
    assert not layout.copies(KEY).exists()
    assert (layout.sessions_dir / "one").exists()


def user_process(layout: Layout, tmp_path: Path, script: Path) -> UserProcess:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(
        f'#!/bin/sh\n[ "$3 $4" = "restart restic-backups-{KEY}.service" ] && exec {script}\n'
    )
    systemctl.chmod(0o755)
    command = layout.bin_dir / f"restic-{KEY}"
    command.parent.mkdir(parents=True)
    command.symlink_to(tmp_path / "restic")
    return UserProcess(layout, {"systemctl": str(systemctl)}, Deadline.after(60))


def test_the_snapshot_is_the_one_that_restic_names(script: Path, layout: Layout, tmp_path: Path) -> None:
    process = user_process(layout, tmp_path, script)
    assert backup(process, [KEY], repository=True, physical=True, live=False) == {KEY: SNAPSHOT}


def test_the_database_goes_as_each_backup_says(script: Path, layout: Layout, tmp_path: Path) -> None:
    process = user_process(layout, tmp_path, script)
    for physical in (False, True):
        backup(process, [KEY], repository=True, physical=physical, live=False)
        assert ("database.sql" in (tmp_path / "contents").read_text()) is not physical


@pytest.mark.parametrize("repository", [True, False])
def test_a_repository_is_made_only_where_the_server_has_none(
    script: Path, layout: Layout, tmp_path: Path, repository: bool
) -> None:
    backup(user_process(layout, tmp_path, script), [KEY], repository=repository, physical=True, live=False)
    verbs = [call.split()[0] for call in (tmp_path / "calls").read_text().splitlines()]
    assert verbs == ["backup"] if repository else ["init", "backup"]


@pytest.mark.parametrize("program", ["mariadb", "mariadb-dump", "mariadb-backup", "restic"])
def test_a_backup_that_fails_says_why_and_names_no_snapshot(
    script: Path, layout: Layout, tmp_path: Path, program: str
) -> None:
    summary = json.dumps({"message_type": "summary", "snapshot_id": "cd" * 32})
    layout.backup_summary(KEY).write_text(f"{summary}\n")
    (tmp_path / program).write_text("#!/bin/sh\necho disk full >&2\nexit 1\n")
    with pytest.raises(OperationFailed, match=f"backup {KEY} failed: disk full"):
        backup(
            user_process(layout, tmp_path, script),
            [KEY],
            repository=True,
            physical=program == "mariadb-backup",
            live=False,
        )
    assert not layout.backup_summary(KEY).exists()


def test_what_restic_says_is_what_people_are_told_and_of_much_the_last_lines(
    script: Path, layout: Layout, tmp_path: Path
) -> None:
    (tmp_path / "restic").write_text(
        "#!/bin/sh\n"
        "[ $1 = init ] && { echo config file already exists >&2; exit 1; }\n"
        "head -c 300000 /dev/zero | tr '\\0' x >&2; echo >&2; echo 'Fatal: wrong password' >&2; exit 1\n"
    )
    with pytest.raises(OperationFailed, match=f"^backup {KEY} failed: Fatal: wrong password$"):
        backup(user_process(layout, tmp_path, script), [KEY], repository=True, physical=True, live=False)
