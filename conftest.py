"""What the marker `machine` means."""

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests on machines for all but root; begin with them, for they take longest."""
    machine = {item: item.get_closest_marker("machine") is not None for item in items}
    if os.geteuid() != 0:
        for item in items:
            if machine[item]:
                item.add_marker(pytest.mark.skip(reason="machines need root"))
    items.sort(key=lambda item: not machine[item])
