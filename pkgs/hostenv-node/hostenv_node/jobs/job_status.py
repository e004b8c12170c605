"""A job as its action rows show it (contract 4, `GET …/actions?all=1`)."""

from collections.abc import Mapping
from dataclasses import dataclass

from hostenv_core.intents import VERIFY
from hostenv_core.json_value import Value
from hostenv_core.names import PROVIDER_NODE

_ROW = ("node", "op", "user", "status")


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
        answer = Value(value, "the provider's list of actions", most=None)
        rows = (Row(*(each.member(key).text() for key in _ROW)) for each in answer.member("actions").items())
        return cls(answer.member("jobId").text(), answer.member("state").text(), tuple(rows))

    def status(self, node: str | None, op: str, user: str) -> str | None:
        """The status of one row, None when the job has no such row."""
        for row in self.rows:
            if (row.node, row.op, row.user) == (node, op, user):
                return row.status
        return None

    def verified(self, user: str) -> bool:
        """Whether the environment has passed the job's commit point (contract 7)."""
        return self.state == "succeeded" or self.status(PROVIDER_NODE, VERIFY, user) == "success"
