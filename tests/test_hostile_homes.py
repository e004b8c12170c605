"""The node's work in many hostile homes, as their user; the scenario of this name does it on machines."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from home_support import UID, Home, data, release, snapshot
from hostenv_node.environment import steps
from hostenv_scenarios import hostile

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become the environment's user")

OLD, NEW = f"{'a' * 40}-00000000", f"{'b' * 40}-11111111"
TIDY = steps.Tidy((), (NEW,))


@contextmanager
def home_of(made: hostile.Home) -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="home-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        home = Home(folder)
        release(home, OLD)
        home.layout.current.symlink_to(OLD)
        home.layout.units_dir.mkdir(parents=True)
        data(home, home.layout.data_dir, "old")
        try:
            for deed in made.deeds:
                shell(home, deed.command, deed.by_root)
            # Root opens it before it becomes the user.
            home.layout.home.chmod(0o700)
            yield home
        finally:
            shell(home, hostile.MENDED, by_root=True)


def shell(home: Home, command: str, by_root: bool = False) -> None:
    user = [] if by_root else ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
    argv = [*user, "env", f"HOME={home.layout.home}", "bash", "-euo", "pipefail", "-c", command]
    subprocess.run(argv, check=True, timeout=60, cwd=home.layout.home)


def push(home: Home) -> dict[str, Any]:
    unit = str(home.layout.units_dir / "mysql.service")
    begun = home.apply(
        steps.WriteFiles((str(home.layout.units_dir),), (steps.File(unit, "[Unit]\n", 0o640),)),
        steps.BeginRelease(NEW),
    )
    if "error" in begun:
        return begun
    shell(home, f"echo new > {home.layout.unfinished_release(NEW)}/source/index.php")
    return home.apply(
        steps.LayOutRelease(NEW, ".", None),
        steps.StartUnits({"mysql.service": (unit,)}),
        steps.ActivateRelease(NEW, (OLD,)),
        TIDY,
    )


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.long)])
def test_every_push_ends_and_every_move_is_made_or_refused_with_what_to_do(count: int) -> None:
    for whole in hostile.homes(count, count):
        # No manager of the user's runs here.
        made = replace(whole, deeds=tuple(deed for deed in whole.deeds if "systemctl" not in deed.command))
        print(made)
        with home_of(made) as home:
            pushed = push(home)
            if made.fails:
                assert re.search("|".join(made.fails), pushed["error"]), (made, pushed)
                shell(home, hostile.MENDED, by_root=True)
                pushed = push(home)
            assert "results" in pushed, (made, pushed)
            assert os.readlink(home.layout.current) == NEW, made
            undeletable = not made.fails and any(
                deed.by_root and "in the release" in deed.name for deed in made.deeds
            )
            assert bool(pushed["left"]) == undeletable, (made, pushed)

            checked = home.apply(steps.CheckData())
            refused = bool(made.refused) and not made.fails
            assert refused == ("error" in checked), (made, checked)
            if refused:
                assert any(words in checked["error"] for words in made.refused), (made, checked)
            else:
                home.done(snapshot(home))
                assert (home.layout.files_dir / "data").read_text() == "new\n", made

            shell(home, hostile.MENDED, by_root=True)
            assert home.done(TIDY) == "", made
            assert sorted(path.name for path in home.layout.app_dir.iterdir()) == [NEW, "current"], made
            home.done(steps.CheckData())
