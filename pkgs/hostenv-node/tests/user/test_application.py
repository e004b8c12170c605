"""When Drupal is installed and when it must not be; PHP and the database's client are scripts."""

from pathlib import Path

import pytest
from hostenv_core.processes import CommandFailed
from hostenv_node.deadline import Deadline
from hostenv_node.environment.layout import Layout
from hostenv_node.environment.steps import PrepareApplication
from hostenv_node.user import application
from hostenv_node.user.process import UserProcess


class Site:
    """`tables` is what the database says of itself; `calls` are the scripts and statements it was given."""

    def __init__(self, layout: Layout, folder: Path) -> None:
        self.layout = layout
        self.folder = folder
        self.tables(0)
        self.php("exit 0")
        self.script(
            "mariadb", 'for last; do :; done; case "$last" in *SELECT*) cat tables ;; *) note ;; esac'
        )
        (layout.release("r1") / "public").mkdir(parents=True)
        layout.state_dir.mkdir(parents=True)
        tools = {name: str(folder / name) for name in ("php", "mariadb")}
        self.process = UserProcess(layout, tools, Deadline.after(600))

    def script(self, name: str, text: str) -> None:
        program = self.folder / name
        program.write_text(f'#!/bin/sh\ncd {self.folder}\nnote() {{ echo "$last" >>calls; }}\n{text}\n')
        program.chmod(0o755)

    def php(self, ending: str) -> None:
        self.script("php", f"last=${{3##*/}}; note; {ending}")

    def tables(self, number: int) -> None:
        (self.folder / "tables").write_text(f"{number}\n")

    def prepare(self, *, update: bool = True) -> list[str]:
        """What was done, each in a word."""
        (self.folder / "calls").write_text("")
        wanted = PrepareApplication("r1", "minimal", "h.example", update)
        application.prepare(self.process, wanted)
        return self.done()

    def done(self) -> list[str]:
        words = {"--execute=DROP": "drop", "--execute=CREATE": "create", "install_drupal.php": "install"}
        lines = (self.folder / "calls").read_text().splitlines()
        return [words.get(line.split()[0], line) for line in lines]


@pytest.fixture
def site(layout: Layout, tmp_path: Path) -> Site:
    folder = tmp_path / "played"
    folder.mkdir()
    return Site(layout, folder)


def test_an_empty_database_gets_an_installation(site: Site) -> None:
    assert site.prepare() == ["install"]


def test_a_database_with_tables_is_never_installed_over(site: Site) -> None:
    site.tables(1)
    assert site.prepare() == ["rebuild_drupal.php"]


def test_an_installation_that_was_cut_short_is_begun_anew(site: Site) -> None:
    site.php("exit 1")
    with pytest.raises(CommandFailed):
        site.prepare()
    assert site.done() == ["install"]
    site.php("exit 0")
    site.tables(7)
    assert site.prepare() == ["drop", "create", "install"]
    assert site.prepare() == ["rebuild_drupal.php"]


@pytest.mark.parametrize("update", [True, False])
def test_only_code_that_may_be_newer_updates_the_database(site: Site, layout: Layout, update: bool) -> None:
    drush = layout.release("r1") / "public/vendor/bin/drush"
    drush.parent.mkdir(parents=True)
    drush.touch()
    site.tables(1)
    assert site.prepare(update=update) == [*(["drush"] if update else []), "rebuild_drupal.php"]
