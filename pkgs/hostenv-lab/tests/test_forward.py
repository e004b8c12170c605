"""What answers on this host for a machine."""

from types import SimpleNamespace
from typing import Any

import pytest
from hostenv_lab.forward import _connect_port


def test_nobody_waits_for_the_address_of_a_machine_that_is_off() -> None:
    asked: list[tuple[object, ...]] = []
    network: Any = SimpleNamespace(connect=lambda *words: asked.append(words))
    machine: Any = SimpleNamespace(name="alpha", number=3, is_up=lambda: False)
    connect = _connect_port(network, machine, 80)
    with pytest.raises(ConnectionRefusedError, match="alpha is off"):
        connect()
    assert not asked
    machine.is_up = lambda: True
    connect()
    assert asked[0][:2] == (3, 80)
