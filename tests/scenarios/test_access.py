"""Who may do what, on lab machines; docs/access.md shows the same tables."""

import re
from pathlib import Path

import pytest
from hostenv_demo.demo import DESCRIPTION
from hostenv_lab import description
from hostenv_lab.lab import Lab
from hostenv_scenarios.access import TABLES, Table

FOLDER = Path(__file__).parent
DOCUMENT = FOLDER.parents[1] / "docs" / "access.md"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.title)
def test_every_cell_is_decided_and_the_document_shows_it(table: Table) -> None:
    for row in table.rows:
        assert re.fullmatch(r"[yn]+", row.may)
        assert len(row.may) == len(table.who), row.what
    assert table.markdown() in DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.machine
def test_nobody_may_do_more_and_no_log_holds_a_secret(tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    described = description.load(DESCRIPTION)
    with Lab(described, workdir, "container") as lab:
        lab.driver.run_script(FOLDER / "access.py")
        (provider,) = (machine for machine in lab.driver.machines if machine.name == "provider")
        _, text = provider.execute(
            "cd /var/lib/hostenv-provider && cat tokens.json;"
            " cat secrets/*.json backup-accounts/*.json webhooks/*.json"
        )
    secrets = set(re.findall(r'"([0-9a-f]{64}|[A-Za-z0-9+/]{43}=)"', text))
    assert len(secrets) >= 10
    logs = [path for path in workdir.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any("hostenv-provider" in path.read_text(errors="replace") for path in logs)
    for path in logs:
        content = path.read_text(errors="replace")
        assert not [secret for secret in secrets if secret in content], path
