"""An environment whose files are rendered into a temporary folder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hostenv_node.config import Application, Config
from hostenv_node.runtime.environment import Environment, parse_environment
from hostenv_node.runtime.layout import Layout
from runtime_support import TOOLS, entry, program


@pytest.fixture
def config(configure: Callable[..., Config], tmp_path: Path) -> Config:
    (tmp_path / "state").mkdir()
    made = configure(tools={name: program(name, *candidates) for name, candidates in TOOLS.items()})
    web = tmp_path / "drupal" / "web"
    web.mkdir(parents=True)
    (web / "index.php").touch()
    return replace(made, applications={"drupal": Application.at(tmp_path / "drupal")})


@pytest.fixture
def environment() -> Environment:
    return parse_environment(entry())


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    # Sockets have short names: a temporary folder's may be too long for them.
    return Layout(
        "drupal-main-2855093", 1002, "drupal", tmp_path / "home", tmp_path / "frozen", tmp_path / "r"
    )


@pytest.fixture
def runuser(tmp_path: Path, layout: Layout) -> Path:
    """Notes whose user it is asked to be, and runs the program as whoever runs the tests."""
    layout.home.mkdir()
    path = tmp_path / "runuser"
    path.write_text(f'#!/bin/sh\necho "$1 $2 $3" >>{tmp_path}/became\nshift 4\nexec env "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def changed() -> Callable[..., Any]:
    """The entry with one value replaced, by its path of keys."""

    def change(*path: str, to: object) -> dict[str, Any]:
        made = entry()
        inner = made
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to
        return made

    return change
