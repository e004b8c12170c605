"""A home is its user's: what stands in it may be anything, and a step that fails gives a reason."""

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from home_support import FOLDERS, SNAPSHOT, Home, data, release, snapshot
from hostenv_node.environment import steps
from hostenv_node.user import candidate

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become the environment's user")


@pytest.fixture
def home() -> Iterator[Home]:
    # Below `tmp_path` nobody but root gets in.
    folder = Path(tempfile.mkdtemp(prefix="home-"))
    folder.chmod(0o755)
    made = Home(folder)
    yield made
    made.mend()
    shutil.rmtree(folder)


def shut(path: Path) -> None:
    """Folders that their owner must not write to, nor even look into."""
    (path / "a/b").mkdir(parents=True)
    (path / "a/b/file").touch()
    (path / "a/b").chmod(0)
    (path / "a").chmod(0o555)
    path.chmod(0o500)


def odd(path: Path) -> None:
    os.mkfifo(path / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path / "socket"))
    (path / "dangling").symlink_to("/nowhere")
    (path / os.fsdecode(b"\xff\n\xfe")).touch()
    deep = path
    for _ in range(30):
        deep /= "d" * 100
        deep.mkdir()


TIDY = steps.Tidy((), ("new",))
ACTIVATE = steps.ActivateRelease("new", ())


@pytest.mark.parametrize("spoil", [shut, odd], ids=["modes", "names and kinds"])
@pytest.mark.parametrize(
    "step",
    [TIDY, ACTIVATE, steps.BeginRelease("new")],
    ids=["keep", "activate", "unfinished"],
)
def test_what_is_ours_is_deleted_whatever_its_user_made_of_it(
    home: Home, spoil: Callable[[Path], None], step: steps.Step
) -> None:
    release(home, "new")
    begins = isinstance(step, steps.BeginRelease)
    old = home.layout.unfinished_release("new") if begins else home.layout.release("old")
    (old / "inner").mkdir(parents=True)
    outside = home.layout.home / "own"
    outside.mkdir()
    (outside / "letter").write_text("mine")
    (old / "link").symlink_to(outside)
    spoil(old / "inner")
    home.owned()
    home.layout.app_dir.chmod(0o500)

    assert home.done(step) == ""
    assert not (old / "inner").exists()
    assert not list(home.layout.discarded_dir.iterdir())
    assert (outside / "letter").read_text() == "mine"


def test_what_is_mounted_below_a_release_is_not_deleted_with_it(home: Home) -> None:
    mounted, old = home.layout.home / "mounted", release(home, "old")
    mounted.mkdir()
    (mounted / "letter").write_text("mine")
    (old / "shared").mkdir()
    release(home, "new")
    home.owned()
    home.mount(mounted, old / "shared")

    left = home.done(ACTIVATE)

    assert "shared is a mount point; unmount it" in left
    assert (mounted / "letter").read_text() == "mine"
    assert not old.exists(), "it stands in nobody's way"
    home.mend()
    assert home.done(TIDY) == ""
    assert not list(home.layout.discarded_dir.iterdir())
    assert (mounted / "letter").exists()


@pytest.mark.parametrize("locked", ["public/index.php", "."])
def test_what_cannot_be_deleted_fails_no_deploy_and_is_tried_again(home: Home, locked: str) -> None:
    old = release(home, "old")
    release(home, "new")
    home.owned()
    home.lock(old / locked)

    left = home.done(ACTIVATE, TIDY)

    assert "Operation not permitted" in left
    assert "old" in left
    assert os.readlink(home.layout.current) == "new"
    home.mend()
    assert home.done(TIDY) == ""
    assert sorted(path.name for path in home.layout.app_dir.iterdir()) == ["current", "new"]


def test_a_release_that_is_laid_out_again_takes_the_place_of_a_locked_one(home: Home) -> None:
    served = release(home, "new")
    source = home.layout.unfinished_release("new") / "source"
    source.mkdir(parents=True)
    (source / "index.php").write_text("again")
    home.owned()
    home.lock(served / "public/index.php")

    home.done(steps.LayOutRelease("new", ".", None))

    assert (served / "public/index.php").read_text() == "again"


def test_a_folder_where_the_link_current_must_be_is_replaced(home: Home) -> None:
    (home.layout.current / "mine").mkdir(parents=True)
    release(home, "new")
    home.owned()
    assert home.done(ACTIVATE) == ""
    assert os.readlink(home.layout.current) == "new"


# Data


@pytest.mark.parametrize("mode", [0o555, 0o000, 0o500])
def test_data_folders_of_any_mode_are_swapped_and_keep_it(home: Home, mode: int) -> None:
    data(home, home.layout.data_dir, "old")
    for name in FOLDERS:
        (home.layout.data_dir / name).chmod(mode)
    home.done(snapshot(home, f"chmod {mode:o} files private_files\n"))
    for path in (home.layout.files_dir, home.layout.private_files_dir):
        assert (path / "data").read_text() == "new\n"
        assert path.stat().st_mode & 0o777 == mode
    aside = home.layout.set_aside("job-1")
    assert (aside / "files/data").read_text() == "old"
    assert (aside / "files").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("spoil", [shut, odd], ids=["modes", "names and kinds"])
def test_what_a_failed_restore_left_hinders_no_later_one(home: Home, spoil: Callable[[Path], None]) -> None:
    left = home.layout.restore_dir / "files"
    left.mkdir(parents=True)
    spoil(left)
    home.done(snapshot(home))
    assert (home.layout.files_dir / "data").read_text() == "new\n"
    assert not home.layout.restore_dir.exists()
    assert not list(home.layout.discarded_dir.iterdir())


@pytest.mark.parametrize("target", ["/nowhere", "own"])
def test_a_link_where_the_data_were_is_set_aside_as_it_is(home: Home, target: str) -> None:
    (home.layout.data_dir / "own").mkdir()
    (home.layout.data_dir / "own/letter").write_text("mine")
    for name in FOLDERS:
        (home.layout.data_dir / name).symlink_to(target)
    home.done(snapshot(home))
    assert not home.layout.files_dir.is_symlink()
    assert (home.layout.files_dir / "data").read_text() == "new\n"
    assert os.readlink(home.layout.set_aside("job-1") / "files") == target
    assert (home.layout.data_dir / "own/letter").read_text() == "mine"


def test_a_folder_on_another_file_system_is_left_with_what_to_do(home: Home) -> None:
    elsewhere, old = home.layout.home / "elsewhere", home.layout.state_dir / "old"
    (elsewhere / old.name).mkdir(parents=True)
    home.owned()
    home.mount(elsewhere, home.layout.state_dir)
    left = home.done(steps.Tidy((str(old),), ()))
    assert f"{old}: it is on another file system" in left
    assert "unmount that one" in left


def test_a_restore_over_a_mount_is_refused_before_anything_is_touched(home: Home) -> None:
    data(home, home.layout.data_dir, "old")
    other = home.layout.home / "other"
    other.mkdir()
    home.mount(other, home.layout.files_dir)
    assert "files is a mount point" in home.error(snapshot(home))
    assert not home.layout.restore_dir.exists()
    assert (home.layout.private_files_dir / "data").read_text() == "old"


@pytest.mark.parametrize("command", ["mkfifo", "ln -s /etc/passwd", "mkdir"])
def test_a_snapshot_with_anything_for_a_dump_is_refused(home: Home, command: str) -> None:
    step = snapshot(home, f"cd backup/data; rm database.sql; {command} database.sql\n")
    assert "holds no whole database" in home.error(step)


def test_a_snapshot_with_a_link_for_a_folder_is_refused(home: Home) -> None:
    step = snapshot(home, "mv files elsewhere; ln -s elsewhere files\n")
    assert "files was a link when snapshot" in home.error(step)


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("kind", ["link", "missing", "mount", "file"])
def test_data_that_would_stay_behind_are_refused_with_what_to_do(home: Home, name: str, kind: str) -> None:
    data(home, home.layout.data_dir, "here")
    assert home.done(steps.CheckData()) == ""
    path = home.layout.data_dir / name
    elsewhere = home.layout.home / "elsewhere"
    path.rename(elsewhere)
    if kind == "link":
        path.symlink_to(elsewhere)
        expected = "is a symbolic link, so its data would stay behind; put them into a folder of that name"
    elif kind == "mount":
        path.mkdir()
        home.mount(elsewhere, path)
        expected = "is a mount point, which cannot move; unmount it"
    elif kind == "file":
        path.touch()
        expected = "is a file, so its data would stay behind"
    else:
        expected = f"is missing; make the folder again, as its user: mkdir {path}"
    assert f"{path} {expected}" in home.error(steps.CheckData())


# Files that we keep in a home


def in_the_way(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "link to a pipe":
            os.mkfifo(path.with_name(f"{path.name}.pipe"))
            path.symlink_to(f"{path.name}.pipe")
        case "masked":
            path.symlink_to("/dev/null")
        case "folder":
            (path / "mine").mkdir(parents=True)
        case "closed":
            path.write_text("nonsense")
            path.chmod(0)
            path.parent.chmod(0o500)
        case "nonsense":
            path.write_bytes(b"\xff[[{")


KINDS = ("pipe", "link to a pipe", "masked", "folder", "closed", "nonsense")


def written(path: Path) -> steps.File:
    return steps.File(str(path), "[Unit]\n", 0o640)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rendered_file_is_written_whatever_stands_in_its_place(home: Home, kind: str) -> None:
    unit = home.layout.units_dir / "mysql.service"
    in_the_way(unit, kind)
    in_the_way(home.layout.state_dir / "rendered.json", kind)
    home.owned()
    step = steps.WriteFiles((str(home.layout.units_dir),), (written(unit),))
    assert home.done(step) == ""
    assert unit.read_text() == "[Unit]\n"
    assert not unit.is_symlink()
    assert home.done(steps.WriteFiles((), ())) == ""
    assert not unit.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_start_remembers_may_be_anything(home: Home, kind: str) -> None:
    unit = home.layout.units_dir / "mysql.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Unit]\n")
    in_the_way(home.layout.state_dir / "started.json", kind)
    home.owned()
    assert home.done(steps.StartUnits({"mysql.service": (str(unit),)})) == ""
    assert set(json.loads((home.layout.state_dir / "started.json").read_text())) == {"mysql.service"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_restore_remembers_may_be_anything(home: Home, kind: str) -> None:
    in_the_way(home.layout.state_dir / "restored", kind)
    in_the_way(home.layout.restore_dir / "complete", kind)
    in_the_way(home.layout.state_dir / "installing", kind)
    home.done(snapshot(home))
    assert (home.layout.files_dir / "data").read_text() == "new\n"
    assert SNAPSHOT in (home.layout.state_dir / "restored").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_a_backup_waits_for_no_pipe_and_believes_no_old_summary(home: Home, kind: str) -> None:
    summary = home.layout.backup_summary("data")
    for path in (summary, summary.with_name(f"{summary.name}.errors"), home.layout.dump("data")):
        in_the_way(path, kind)
    home.owned()
    assert "restic named no snapshot for data" in home.error(
        steps.Backup(("data",), repository=True, physical=True, live=False)
    )
    assert not any(map(os.path.lexists, (summary, home.layout.dump("data"))))


@pytest.mark.parametrize("kind", KINDS)
def test_credentials_are_forgotten_whatever_stands_in_their_place(home: Home, kind: str) -> None:
    secret = home.layout.config_dir / "backup.env"
    in_the_way(secret, kind)
    in_the_way(home.layout.units_dir / "default.target.wants" / home.layout.target_unit, kind)
    home.owned()
    assert home.done(steps.StopUnits(manager_runs=False)) == ""
    assert not os.path.lexists(secret)


def test_a_file_that_root_locked_is_named(home: Home) -> None:
    unit = home.layout.units_dir / "mysql.service"
    in_the_way(unit, "nonsense")
    home.owned()
    home.lock(unit)
    said = home.error(steps.WriteFiles((), (written(unit),)))
    assert "Operation not permitted" in said
    assert str(unit) in said


def test_a_file_where_a_folder_must_be_is_named(home: Home) -> None:
    home.layout.units_dir.parent.mkdir(parents=True)
    os.mkfifo(home.layout.units_dir)
    home.owned()
    said = home.error(steps.WriteFiles((str(home.layout.units_dir),), ()))
    assert said == f"{home.layout.units_dir} is a named pipe, where a folder must be; remove it"


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_for_a_unit_or_a_log_is_not_waited_for(home: Home, kind: str) -> None:
    in_the_way(home.layout.units_dir / "mysql.service", kind)
    in_the_way(home.layout.candidate_log, kind)
    home.owned()
    unit = home.layout.units_dir / "mysql.service"
    assert home.done(steps.StartUnits({unit.name: (str(unit),)})) == ""
    assert candidate._php_error(home.layout.candidate_log) == ""
