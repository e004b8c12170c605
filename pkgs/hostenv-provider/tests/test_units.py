"""What the services beside the provider's own can see of its data folder (contract 9)."""

from pathlib import Path

import pytest
from hostenv_provider.config import Config

UNITS = Path(__file__).parents[1] / "systemd"
DATA = Path("/var/lib/hostenv-provider")
CONFIG = Config(DATA, Path("/run/socket"), "hostenv-provider", "http://provider")
SECRET = (
    CONFIG.tokens_file,
    CONFIG.previous_tokens_file,
    CONFIG.database,
    CONFIG.secrets_dir,
    CONFIG.backup_accounts_dir,
    CONFIG.repo_dir,
)


def values(unit: str, key: str) -> list[str]:
    lines = (UNITS / unit).read_text().splitlines()
    return [word for line in lines if line.startswith(f"{key}=") for word in line.partition("=")[2].split()]


@pytest.mark.parametrize(
    ("unit", "needed"),
    [
        ("hostenv-git.service", {CONFIG.git_dir}),
        ("hostenv-backups.service", {CONFIG.backups_dir}),
    ],
)
def test_a_service_sees_of_the_data_folder_what_it_needs_and_no_secret(unit: str, needed: set[Path]) -> None:
    shown = {Path(path) for key in ("BindPaths", "BindReadOnlyPaths") for path in values(unit, key)}

    def visible(path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in shown)

    assert values(unit, "TemporaryFileSystem") == [f"{DATA}:ro"]
    assert all(visible(path) for path in needed)
    assert not any(visible(path) for path in SECRET)
