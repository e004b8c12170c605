"""`--drupal DIR`: the Drupal that the site tests use beside the stand-in."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--drupal", metavar="DIR", help="a Drupal tree (its root or its composer project) to test as well"
    )
