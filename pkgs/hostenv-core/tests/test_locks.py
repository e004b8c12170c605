from pathlib import Path

import pytest
from hostenv_core.errors import HostenvError
from hostenv_core.locks import locked, locked_if_free


class Waiting(Exception):
    pass


def tell() -> None:
    raise Waiting


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    with locked(path, tell):
        with locked_if_free(path) as free:
            assert not free
        with pytest.raises(Waiting), locked(path, tell):
            pass
    with locked_if_free(path) as free:
        assert free
    with locked(path, tell):
        pass


def test_what_cannot_be_a_lock_is_named(tmp_path: Path) -> None:
    with pytest.raises(HostenvError, match=f"^{tmp_path}: cannot be locked .Is a directory.: correct"):
        locked(tmp_path).__enter__()
