from pathlib import Path

import pytest
from hostenv_core.errors import HostenvError
from hostenv_node.runtime.record import Applied, Phase, Record, Records
from runtime_support import USER, entry

RELEASE = f"{'a' * 40}-12345678"


def record() -> Record:
    return Record(
        user=USER,
        uid=1002,
        codebase="drupal",
        phase=Phase.ACTIVE,
        job="job-1",
        applied=Applied(entry(), RELEASE),
        previous=Applied(entry(), None),
        snapshots={"drupal-migrate": "ab" * 32},
        set_aside={"job-0": 12.5},
    )


def test_a_record_is_read_as_it_was_written(tmp_path: Path, synchronised: list[str]) -> None:
    records = Records(tmp_path / "environments")
    records.put(record())
    assert synchronised == [f".{USER}.json.new", "environments"]
    assert records.get(USER) == record()
    assert records.users() == [USER]
    assert records.get("other") is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"user":1}', '{"user": "u", "phase": "odd"}', '{"applied": null}']
)
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / f"{USER}.json").write_text(text)
    with pytest.raises(HostenvError, match=USER):
        Records(tmp_path).get(USER)
