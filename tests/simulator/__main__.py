"""`python3 -m simulator`, started in the folder `tests`: run schedules, or replay one.

    python3 -m simulator                              10,000 schedules, from seed 0
    python3 -m simulator --count 1000000 --processes 2
    python3 -m simulator --seed 4711 --trace          one schedule, with all that happens in it

A schedule is its seed: the same seed gives the same schedule, until the product or the simulator changes. One
that fails is printed with its seed and the invariant that does not hold; then the exit status is 1.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

_CHUNK = 500


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python3 -m simulator",
        description="Random schedules of faults through the real rules of service and nodes.",
    )
    parser.add_argument("--seed", type=int, help="run only this schedule")
    parser.add_argument("--trace", action="store_true", help="with --seed: print what happens")
    parser.add_argument("--first", type=int, default=0, help="first seed of many (default 0)")
    parser.add_argument("--count", type=int, default=10_000, help="how many schedules (default 10000)")
    parser.add_argument("--processes", type=int, default=1, help="how many at once (default 1)")
    arguments = parser.parse_args(argv)
    if arguments.seed is not None:
        return _replay(arguments.seed, trace=arguments.trace)
    return _run_many(arguments.first, arguments.count, arguments.processes)


def _replay(seed: int, *, trace: bool) -> int:
    from simulator.runs import run

    result = run(seed, trace=trace)
    if trace:
        print("\n".join(result.lines))
    print(f"seed {seed}: {result.failure or 'all invariants hold'}")
    return 1 if result.failure else 0


def _run_many(first: int, count: int, processes: int) -> int:
    from simulator.runs import run_range

    begin = time.monotonic()
    starts = range(first, first + count, _CHUNK)
    sizes = [min(_CHUNK, first + count - start) for start in starts]
    totals: Counter[str] = Counter()
    done = 0
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for size, tally in zip(sizes, pool.map(run_range, starts, sizes), strict=True):
            done += size
            totals += tally.counts
            for seed, failure in tally.failures:
                print(f"seed {seed}: {failure}", flush=True)
            if sys.stderr.isatty():
                print(f"\r{done} of {count}", end="", file=sys.stderr, flush=True)
    seconds = time.monotonic() - begin
    print(f"{count} schedules in {seconds:.0f} s with {processes} processes, {count / seconds:.0f} a second")
    print(", ".join(f"{number} {what}" for what, number in sorted(totals.items())))
    return 1 if totals["schedules failed"] else 0


if __name__ == "__main__":
    tests = Path(__file__).resolve().parent.parent
    packages = tests.parent / "pkgs"
    names = ("hostenv-core", "hostenv-provider", "hostenv-node")
    sys.path[:0] = [str(tests), *(str(packages / name) for name in names)]
    sys.exit(main())
