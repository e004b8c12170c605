"""How a job ends that its nodes do not end: an operator cancels it, or it makes no progress (contract 5).

Like the rules in `jobs`: functions of recorded state.
"""

from hostenv_provider.rules.intents import VERIFY
from hostenv_provider.rules.jobs import ENDED, Accepted, Conflict, Status, View, fail


def cancel(view: View, by: str) -> Accepted | Conflict:
    """An operator ends a job before its commit point; then it has failed, and nodes undo what they did."""
    if view.state in ENDED:
        return Conflict(view.state, f"the job has ended already: it is {view.state}")
    for row in view.rows:
        if row.action.op == VERIFY and row.status is Status.SUCCESS:
            return Conflict(
                view.state,
                f"too late: {row.action.user} is deployed on {row.action.to_node}; let the job end, then"
                " go back with rollback or migrate",
            )
    return fail(view, f"cancelled by {by}")


def expire(view: View, limit: float) -> Accepted:
    """A waiting job made no progress for `limit` seconds (contract 5)."""
    open_rows = [f"{row.action.op} of {row.action.user} on {row.node}" for row in view.rows if row.pending]
    missing = sorted(view.nodes - view.finished)
    text = ", ".join(open_rows) or f"the closing report of {', '.join(missing)}"
    return fail(view, f"no progress for {limit / 60:g} min; unfinished: {text}", pending=Status.TIMED_OUT)
