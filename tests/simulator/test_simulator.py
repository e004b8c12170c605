"""2,000 schedules keep every promise (10,000 with `-m long`), and none would if a rule were missing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hostenv_core.intents import OPERATIONS

from simulator.__main__ import main
from simulator.mutations import MUTATIONS, Mutation
from simulator.runs import on_one_processor, run, run_range

SCHEDULES, ALL_SCHEDULES, AT_ONCE = 2_000, 10_000, 500
TESTS = Path(__file__).resolve().parent.parent

REACHED = (
    *(rf"success/{op}: Accepted" for op in OPERATIONS),
    *(rf"(failed|timed_out)/{op}: Accepted" for op in OPERATIONS if op != "reload"),
    # An action that a crash cut short is begun again; an answer that was lost is asked for again.
    r"running/(backup|restore|activate|reload): Repeated",
    r"running/sync: Repeated",
    r"running/handover: Repeated",
    # A move needs several rounds, and one was sent twice.
    r"delta-3 of",
    r"(job-\d+ delta-\d of \S+)\n(?s:.*)\1\n",
    r"no more rounds of job-\d+, which is failed",
    r"rest-\d of",
    r"backed up live",
    r"backed up frozen",
    r"success/\w+: Repeated",
    r"running/\w+: Conflict",
    r"late, the job is superseded",
    r"thaw",
    r"withdraw",
    r"revert",
    r"keep the new release",
    r"could not (thaw|withdraw|revert)",
    r"waiting/intent: Noted",
    r"completed the switch",
    r"comin: switched to \d+ no usable answer",
    r"worker: node-\w does not see commit",
    r"failed: cannot switch to comin's generation",
    r"failed: comin could not evaluate",
    r"planned again, since its commit was not pushed: main has moved",
    r"pushed \d+ \(a merge\)",
    r"tried again in \d+ s: demo__\w+: does not answer",
    r"kill activation",
    r"kill job-\d+ on node-\w",
    r"waits for what job job-\d+ left to do here",
    r"waits until one of \d other jobs",
    r"-main-\w+ hangs",
    r"could not \w+ \S+: a program does not end",
    r"beside hostile homes: job-\d+ of demo__\w+ is succeeded",
    r"kill comin",
    r"kill worker",
    r"kill verifier",
    r"Retire\(.*for_good=True",
    r"Retire\(.*for_good=False",
    r"Enqueued\(job_id='job-\d+', created=False\)",
    r"nothing moves",
)
"""What must happen in some of the schedules, for them to mean anything."""


@pytest.mark.parametrize(
    "first",
    [
        *range(0, SCHEDULES, AT_ONCE),
        *(pytest.param(first, marks=pytest.mark.long) for first in range(SCHEDULES, ALL_SCHEDULES, AT_ONCE)),
    ],
)
def test_no_schedule_loses_a_write_or_waits_for_ever(first: int) -> None:
    tally = run_range(first, AT_ONCE)
    failures = "\n".join(
        f"python3 -m simulator --trace --seed {seed}: {text}" for seed, text in tally.failures
    )
    assert not failures, f"replay in {TESTS}:\n{failures}"


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_missing_rule_is_found(mutation: Mutation) -> None:
    with mutation.applied(), on_one_processor():
        assert any(run(seed).failure for seed in mutation.seeds)


def test_schedules_reach_what_they_are_for() -> None:
    with on_one_processor():
        trace = "\n".join(line for seed in range(450) for line in run(seed, trace=True).lines)
    assert [pattern for pattern in REACHED if not re.search(pattern, trace)] == []
    assert "internal error" not in trace


def test_a_seed_is_a_schedule_in_every_process() -> None:
    traces = {
        subprocess.run(
            [sys.executable, "-m", "simulator", "--seed", "7", "--trace"],
            cwd=TESTS,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            timeout=120,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(traces) == 1
    assert traces.pop().endswith(b"seed 7: all invariants hold\n")


def test_a_failing_schedule_is_named_and_replays(capsys: pytest.CaptureFixture[str]) -> None:
    mutation = next(mutation for mutation in MUTATIONS if mutation.name == "target_thaws_at_once")
    with mutation.applied():
        seed = next(seed for seed in mutation.seeds if run(seed).failure)
        assert main(["--seed", str(seed), "--trace"]) == 1
        last = capsys.readouterr().out.splitlines()[-1]
        assert last == f"seed {seed}: {run(seed).failure}"
    assert main(["--seed", str(seed)]) == 0


def test_many_schedules_run_in_several_processes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simulator", "--count", "6", "--processes", "2"],
        cwd=TESTS,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.startswith("6 schedules in ")
