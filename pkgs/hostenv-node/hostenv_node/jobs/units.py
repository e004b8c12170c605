"""The units in which jobs are worked on, `hostenv-job@<jobId>.service`: one for each job, side by side."""

from collections.abc import Collection, Sequence

from hostenv_core.processes import run

from hostenv_node.config import Config

_SECONDS = 30.0


def start(config: Config, jobs: Collection[str]) -> None:
    """Start the jobs' units without waiting for them; those that run are left alone.

    Raises CommandFailed when systemd cannot be asked.
    """
    run([config.tool("systemctl"), "start", "--no-block", *map(_unit, jobs)], timeout=_SECONDS)


def running(config: Config, jobs: Sequence[str]) -> set[str]:
    """Those of the jobs whose units run. Raises CommandFailed when systemd cannot be asked."""
    if not jobs:
        return set()
    # Its exit status tells of one that does not run, too.
    states = run([config.tool("systemctl"), "is-active", *map(_unit, jobs)], timeout=_SECONDS, check=False)
    return {
        job
        for job, state in zip(jobs, states.text.split(), strict=False)
        if state in ("activating", "active", "deactivating")
    }


def _unit(job: str) -> str:
    return f"hostenv-job@{job}.service"
