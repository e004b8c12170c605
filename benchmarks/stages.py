#!/usr/bin/env python3
"""Seconds of each stage of the migration, beside the floor of the same machine.

The floor is three bare machines booted and stopped in the same run, so that a slow or busy host shows in both
columns. Example: ./benchmarks/stages.py --machines container --cold
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "pkgs" / name) for name in ("hostenv-core", "hostenv-lab")]

from hostenv_lab import description, image, record  # noqa: E402
from hostenv_lab.host import CHOICES, Choice  # noqa: E402
from hostenv_lab.lab import Lab, ending_signals  # noqa: E402
from hostenv_lab.log import Event  # noqa: E402

FLOOR = """
with subtest("three bare machines: boot"):
    start_all()
    for machine in machines:
        machine.wait_for_unit("multi-user.target", None, 300)
with subtest("three bare machines: stop"):
    for machine in machines:
        machine.shutdown()
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--machines", choices=CHOICES, default="container")
    parser.add_argument("--cold", action="store_true", help="make the image anew, in a cache of its own")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hostenv-benchmark-") as folder, ending_signals():
        if options.cold:
            os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        described = description.load(ROOT / "pkgs" / "hostenv-demo" / "machines" / "machines.toml")
        rows: list[tuple[str, float]] = []
        with timed(rows, "image (cold)" if options.cold else "image (warm)"):
            image.ensure(described.image, lambda text: print(text, file=sys.stderr))
        floor_script = Path(folder) / "floor.py"
        floor_script.write_text(FLOOR)
        floor = measure(described, options.machines, Path(folder) / "floor", floor_script)
        stages = measure(described, options.machines, Path(folder) / "run", ROOT / "tests" / "script.py")
    show([*rows, *floor, ("floor in all", total(floor)), *stages, ("migration in all", total(stages))])
    print(f"\nmigration : floor = {total(stages) / total(floor):.1f}")
    return 0


def measure(
    described: description.Description, machines: Choice, workdir: Path, script: Path
) -> list[tuple[str, float]]:
    """Run a script on fresh machines; what each stage of it took, and what came before and after."""
    rows: list[tuple[str, float]] = []

    def note(event: Event) -> None:
        if event.kind == "stage-end" and event.seconds is not None:
            rows.append((event.text, event.seconds))

    lab = Lab(described, workdir, machines, on_event=note)
    with timed(rows, "machines made"):
        lab.__enter__()
    try:
        lab.driver.run_script(script)
    finally:
        with timed(rows, "machines removed"):
            lab.__exit__(None, None, None)
    record.teardown(workdir)
    return rows


@contextmanager
def timed(rows: list[tuple[str, float]], name: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    rows.append((name, time.monotonic() - start))


def total(rows: list[tuple[str, float]]) -> float:
    return sum(seconds for _, seconds in rows)


def show(rows: list[tuple[str, float]]) -> None:
    print("| what | seconds |\n|---|---:|")
    for name, seconds in rows:
        print(f"| {name} | {seconds:.1f} |")


if __name__ == "__main__":
    sys.exit(main())
