"""Draining is bounded as a whole (contract 8: 30 s), on a clock that only waiting moves."""

from types import SimpleNamespace

import pytest
from hostenv_node.environment.layout import Layout
from hostenv_node.user import freeze
from hostenv_node.user.process import UserProcess


def test_the_servers_of_an_environment_share_one_limit(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    signalled = []

    def wait(_process: UserProcess, _condition: object, seconds: float) -> bool:
        nonlocal now
        now += seconds
        return False

    monkeypatch.setattr(UserProcess, "wait_until", wait)
    monkeypatch.setattr(UserProcess, "systemctl", lambda *_, **__: SimpleNamespace(text="7"))
    monkeypatch.setattr(freeze, "_stand_still", lambda *_: None)
    monkeypatch.setattr(freeze, "_children", lambda _: {8})
    monkeypatch.setattr(freeze, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(freeze.os, "kill", lambda worker, _: signalled.append(worker))
    freeze.freeze(UserProcess(layout, {}, SimpleNamespace()))  # type: ignore[arg-type]
    assert now == 130.0
    assert signalled == [8]
