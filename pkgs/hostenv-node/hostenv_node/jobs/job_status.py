"""A job as its action rows show it (contract 4, `GET …/actions?all=1`)."""

from collections.abc import Mapping
from dataclasses import dataclass

from hostenv_core.errors import HostenvError

PROVIDER = "provider"
VERDICTS = frozenset({"succeeded", "failed", "superseded"})


@dataclass(frozen=True)
class Row:
    """One action of one node, or of the provider itself."""

    node: str
    op: str
    user: str
    status: str


@dataclass(frozen=True)
class JobSnapshot:
    """State of a job and of every action in it, of all nodes, at one moment."""

    job_id: str
    state: str
    rows: tuple[Row, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> "JobSnapshot":
        """Raises HostenvError when `value` is not what contract 4 promises."""
        job_id, state, actions = value.get("jobId"), value.get("state"), value.get("actions")
        if not isinstance(job_id, str) or not isinstance(state, str) or not isinstance(actions, list):
            raise HostenvError(f"the provider's list of actions is malformed: {str(value)[:200]}")
        return cls(job_id, state, tuple(_row(action) for action in actions))

    def status(self, node: str | None, op: str, user: str) -> str | None:
        """The status of one row, None when the job has no such row."""
        for row in self.rows:
            if (row.node, row.op, row.user) == (node, op, user):
                return row.status
        return None

    def verified(self, user: str) -> bool:
        """Whether the environment has passed the job's commit point (contract 7)."""
        return self.state == "succeeded" or self.status(PROVIDER, "verify", user) == "success"


def _row(value: object) -> Row:
    fields = [value.get(key) for key in ("node", "op", "user", "status")] if isinstance(value, dict) else []
    texts = [field for field in fields if isinstance(field, str)]
    if len(texts) != 4:
        raise HostenvError(f"the provider sent a malformed action: {str(value)[:200]}")
    return Row(*texts)
