"""How a job ends if its nodes do not end it: an operator cancels it, or it makes no progress (contract 5).

Like the rules in `jobs`: functions of recorded state.
"""

from hostenv_core.intents import VERIFY
from hostenv_core.states import ENDED, Status

from hostenv_provider.rules.jobs import Accepted, Conflict, JobSnapshot, fail


def cancel(job: JobSnapshot, by: str) -> Accepted | Conflict:
    """An operator ends a job before its commit point; then it has failed, and nodes undo what they did."""
    if job.state in ENDED:
        return Conflict(job.state, f"the job has ended already: it is {job.state}")
    for row in job.rows:
        if row.action.op == VERIFY and row.status is Status.SUCCESS:
            return Conflict(
                job.state,
                f"too late: {row.action.user} is deployed on {row.action.to_node}; let the job end, then"
                " go back with rollback or migrate",
            )
    return fail(job, f"cancelled by {by}")


def expire(job: JobSnapshot, limit: float) -> Accepted:
    """A waiting job made no progress for `limit` seconds (contract 5)."""
    open_rows = [f"{row.action.op} of {row.action.user} on {row.node}" for row in job.rows if row.pending]
    missing = sorted(job.nodes - job.finished)
    text = ", ".join(open_rows) or f"the closing report of {', '.join(missing)}"
    return fail(job, f"no progress for {limit / 60:g} min; unfinished: {text}", pending=Status.TIMED_OUT)
