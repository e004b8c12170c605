"""What the marker `machine` means, and where tests write."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pytest's own under a short name: tests put sockets into it, whose paths have 107 bytes at most."""
    return tmp_path_factory.mktemp("t")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests on machines for all but root; begin with them, for they take longest."""
    machine = {item: item.get_closest_marker("machine") is not None for item in items}
    if os.geteuid() != 0:
        for item in items:
            if machine[item]:
                item.add_marker(pytest.mark.skip(reason="machines need root"))
    items.sort(key=lambda item: not machine[item])
