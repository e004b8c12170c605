"""`--comin PROGRAM`: which program the conformance test is about; the lab's stand-in when left out."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--comin", metavar="PROGRAM", help="the comin to test, a program that runs in Debian 13")
