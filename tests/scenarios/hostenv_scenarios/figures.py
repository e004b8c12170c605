"""The figures of fault trials and the table of them."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

_PREFIX = "figure: "
_LINE = re.compile(rf"(?:\s*\d+\.\d+ )?{_PREFIX}(\{{.*\}})$")
_HEADINGS = (
    "fault",
    "verdict",
    "writes accepted",
    "writes lost",
    "longest read gap [s]",
    "longest write gap [s]",
    "seconds to verdict",
)


@dataclass(frozen=True)
class Figure:
    """One fault: `verdict` is the job's state, or the states of all its jobs; gaps are in seconds.

    `to_verdict` is from the first request to the last verdict.
    """

    fault: str
    verdict: str
    accepted: int
    lost: int
    read_gap: float
    write_gap: float
    to_verdict: float

    def line(self) -> str:
        """The line that tells it in a driver's log."""
        return _PREFIX + json.dumps(asdict(self), ensure_ascii=False)


def from_log(lines: Iterable[str]) -> list[Figure]:
    """The figures that stand in a log, with or without the times before its lines."""
    return [Figure(**json.loads(match[1])) for match in map(_LINE.match, lines) if match]


def table(figures: Sequence[Figure]) -> str:
    """A Markdown table with a row for each fault."""
    rows = [
        (
            each.fault.replace("|", "\\|"),
            each.verdict,
            str(each.accepted),
            str(each.lost),
            f"{each.read_gap:.1f}",
            f"{each.write_gap:.1f}",
            f"{each.to_verdict:.1f}",
        )
        for each in figures
    ]
    rule = ("---", "---", "---:", "---:", "---:", "---:", "---:")
    return "".join(f"| {' | '.join(row)} |\n" for row in (_HEADINGS, rule, *rows))
