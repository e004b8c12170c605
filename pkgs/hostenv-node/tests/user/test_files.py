from pathlib import Path

from hostenv_node.deadline import Deadline
from hostenv_node.environment.layout import Layout
from hostenv_node.environment.steps import File
from hostenv_node.user.files import write_files
from hostenv_node.user.process import UserProcess


def write(layout: Layout, files: dict[str, str]) -> None:
    directories = [str(layout.state_dir), str(layout.units_dir)]
    rendered = [File(str(layout.units_dir / name), text, 0o640) for name, text in files.items()]
    write_files(UserProcess(layout, {}, Deadline.after(60)), directories, rendered)


def test_what_an_entry_no_longer_names_is_removed_and_what_is_not_ours_stays(layout: Layout) -> None:
    write(layout, {"a.service": "1", "b.service": "1"})
    (layout.units_dir / "own.service").write_text("the customer's")
    write(layout, {"a.service": "2"})
    assert {path.name for path in layout.units_dir.iterdir()} == {"a.service", "own.service"}
    assert (layout.units_dir / "a.service").read_text() == "2"
    assert (layout.units_dir / "a.service").stat().st_mode & 0o777 == 0o640


def test_a_link_in_a_files_place_is_replaced_not_followed(layout: Layout, tmp_path: Path) -> None:
    layout.units_dir.mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("safe")
    (layout.units_dir / "a.service").symlink_to(tmp_path / "elsewhere")
    write(layout, {"a.service": "1"})
    assert (tmp_path / "elsewhere").read_text() == "safe"
    assert not (layout.units_dir / "a.service").is_symlink()


def test_a_home_without_a_profile_gets_one_that_finds_the_commands(layout: Layout) -> None:
    write(layout, {})
    assert '"$HOME/.local/bin:$PATH"' in (layout.home / ".profile").read_text()


def test_a_profile_that_is_there_stays(layout: Layout) -> None:
    layout.home.mkdir()
    (layout.home / ".bash_profile").write_text("mine")
    write(layout, {})
    assert not (layout.home / ".profile").exists()


def test_sessions_of_an_earlier_version_are_where_they_are_kept_now_and_where_they_were(
    layout: Layout,
) -> None:
    before = layout.state_dir / "sessions"
    before.mkdir(parents=True)
    (before / "sess_1").write_text("ada")
    for _ in range(2):
        write(layout, {})
        assert (layout.sessions_dir / "sess_1").read_text() == "ada"
        # a PHP-FPM that runs since before looks there
        assert (before / "sess_1").read_text() == "ada"
