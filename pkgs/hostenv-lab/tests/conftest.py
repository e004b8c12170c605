"""What tests of whole runs share."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def description(tmp_path: Path) -> Path:
    """One bare machine on the image of the repository's own."""
    text = (REPOSITORY / "pkgs/hostenv-demo/machines/machines.toml").read_text()
    image = text[text.index("[image]") : text.index("\n[substitute.")]
    path = tmp_path / "machines.toml"
    forward = '[[forward]]\nmachine = "alpha"\nguest_port = 80\naddress = "127.0.0.2"\nport = 8080\n'
    path.write_text(f"{image}\n[machine.alpha]\n{forward}")
    return path
