#!/usr/bin/env python3
"""What faults cost: runs the fault scenarios and prints a row of figures for each fault.

Every scenario gets fresh machines. One that fails still shows the rows that it came to; then the exit status
is 1.
Example: ./benchmarks/faults.py moves node_crashes
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / each) for each in ("pkgs/hostenv-core", "pkgs/hostenv-lab", "tests/scenarios")]

from hostenv_lab import description, record  # noqa: E402
from hostenv_lab.driver import explain  # noqa: E402
from hostenv_lab.host import CHOICES, Choice  # noqa: E402
from hostenv_lab.lab import Lab, ending_signals  # noqa: E402
from hostenv_lab.log import Event, line  # noqa: E402
from hostenv_scenarios.figures import Figure, from_log, table  # noqa: E402

SCENARIOS = (
    "moves",
    "more_moves",
    "service_killed",
    "node_crashes",
    "more_node_crashes",
    "links_cut",
    "broken_target",
    "more_broken_targets",
    "comin_killed",
    "long_lived",
    "broken_push",
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)} (all)")
    parser.add_argument("--machines", choices=CHOICES, default="container")
    parser.add_argument("--comin", type=Path, metavar="PROGRAM", help="instead of the lab's stand-in")
    options = parser.parse_args()
    unknown = sorted(set(options.scenarios) - set(SCENARIOS))
    if unknown:
        parser.error(f"there is no scenario {', '.join(unknown)}")
    given = {"comin": options.comin} if options.comin else {}
    figures: list[Figure] = []
    passed = True
    with tempfile.TemporaryDirectory(prefix="hostenv-faults-") as folder, ending_signals():
        for name in options.scenarios or SCENARIOS:
            passed &= run(name, Path(folder) / name, options.machines, given, figures)
    print(table(figures), end="")
    return 0 if passed else 1


def run(name: str, workdir: Path, machines: Choice, given: dict[str, Path], figures: list[Figure]) -> bool:
    """Run one scenario and add its figures; whether it ended well."""
    lines: list[str] = []

    def note(event: Event) -> None:
        lines.append(line(event))
        if event.kind == "stage":
            print(f"{name}: {event.text}", file=sys.stderr, flush=True)

    described = description.load(ROOT / "pkgs" / "hostenv-demo" / "machines" / "machines.toml")
    script = ROOT / "tests" / "scenarios" / f"{name}.py"
    try:
        with Lab(described, workdir, machines, given=given, on_event=note) as lab:
            lab.driver.run_script(script)
    except Exception as error:
        print(f"{name} failed: {explain(error, script)}", file=sys.stderr)
        return False
    finally:
        figures += from_log(lines)
        record.teardown(workdir)
    return True


if __name__ == "__main__":
    sys.exit(main())
