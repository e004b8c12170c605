"""A provider does not grow for ever: a short year of `benchmarks/year.py`, which see (contract 5, memory)."""

import importlib.util
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest
from hostenv_provider.rules.retention import JOBS_KEPT

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "year.py"
JOBS, PROJECTS = 800, 2


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    specification = importlib.util.spec_from_file_location("year", BENCHMARK)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "year", module)
    specification.loader.exec_module(module)
    return module


def test_after_a_year_a_provider_is_as_large_as_after_what_it_keeps(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    year = benchmark.database_year(tmp_path, JOBS, PROJECTS, nodes=2, period=timedelta(days=1))
    assert year.made >= JOBS
    full, half, end, quiet = year.sizes[1:]
    assert 0.9 < half.jobs / full.jobs < 1.1
    assert 0.9 < end.jobs / full.jobs < 1.1
    assert end.file < 1.25 * full.file
    assert quiet.jobs == PROJECTS * JOBS_KEPT
