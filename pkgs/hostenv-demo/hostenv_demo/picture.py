"""The picture of a move, as SVG: who did what when, and what visitors got meanwhile."""

import math
from collections.abc import Sequence
from html import escape

from hostenv_demo.evidence import Action, Evidence, Job, Request, RequestKind
from hostenv_demo.names import NODES
from hostenv_demo.summary import Summary, per_bucket

WIDE, NARROW = 960, 360
_TOP, _ROW, _BAR, _HEAD, _COLUMNS = 20.0, 22, 16, 24, 56
_CHARACTER = 6.7
_LEFT, _RIGHT = 4, 8
_LEAD_SECONDS, _TAIL_SECONDS = 2.0, 3.0
_MOST_COLUMNS = {WIDE: 120, NARROW: 60}
_TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 3600)
# from the bottom of a column to its top
_STACK = (*NODES, "refused", "bad")


def draw(evidence: Evidence, summary: Summary, width: int) -> str:
    """The picture for a page of this width, in CSS pixels. Colours come from the page's style."""
    return _Picture(evidence, summary, width).draw()


class _Picture:
    def __init__(self, evidence: Evidence, summary: Summary, width: int) -> None:
        self._evidence = evidence
        self._summary = summary
        self._width = width
        self._zero, self._start, self._end = _window(evidence, summary.move)
        self._parts: list[str] = []
        self._y = _TOP

    def draw(self) -> str:
        jobs = [self._summary.move] if self._summary.move else list(self._evidence.jobs)
        self._lane("provider")
        for job in jobs:
            self._plan(job)
        self._actions(jobs, "provider")
        for node in NODES:
            if any(row.node == node for job in jobs for row in job.actions):
                self._lane(node)
                self._actions(jobs, node)
        if self._summary.refused:
            self._lane("the site")
            first, last = self._summary.refused
            self._bar(first, last, "freeze", "frozen: writes refused")
        self._columns("read", "pages read per second")
        self._columns("write", "notes written per second")
        # the axis comes first, so that everything else lies over it
        return _tag(
            "svg",
            self._axis() + "".join(self._parts),
            kind="picture",
            viewBox=f"0 0 {self._width} {self._y + 22:.0f}",
            role="img",
            aria_label=_described(self._evidence, self._summary),
        )

    def _x(self, moment: float) -> float:
        share = (moment - self._start) / (self._end - self._start)
        return _LEFT + (self._width - _LEFT - _RIGHT) * min(max(share, 0.0), 1.0)

    def _lane(self, name: str) -> None:
        self._y += _HEAD
        self._parts.append(_tag("text", escape(name), kind="lane", x=_LEFT, y=self._y - 7))

    def _plan(self, job: Job) -> None:
        self._bar(job.created, job.waiting or job.finished or self._end, "provider", "plan, commit, push")

    def _actions(self, jobs: Sequence[Job], node: str) -> None:
        for job in jobs:
            for row in sorted(job.actions, key=lambda each: each.started or math.inf):
                if row.node == node and row.started is not None:
                    y = self._y + _BAR / 2
                    left = self._bar(row.started, row.finished or self._end, _class(row), row.op)
                    if job.waiting is not None and left > self._x(job.waiting):
                        self._line("waits", self._x(job.waiting), left, y)

    def _line(self, kind: str, left: float, right: float, y: float) -> None:
        self._parts.append(_tag("line", kind=kind, x1=left, x2=right, y1=y, y2=y))

    def _bar(self, begin: float, end: float, kind: str, label: str) -> float:
        """Draws a bar and its label; returns where the leftmost of them begins."""
        left, right = self._x(begin), max(self._x(end), self._x(begin) + 3)
        text = f"{label} {end - begin:.1f} s" + (", failed" if kind == "bad" else "")
        told = f"<title>{escape(text)}, from +{begin - self._zero:.1f} s</title>"
        self._parts.append(
            _tag("rect", told, kind=kind, x=left, y=self._y, width=right - left, height=_BAR, rx=3)
        )
        length = len(text) * _CHARACTER
        if length + 8 <= right - left:
            x, anchor, place = left + 5, "start", "inside"
        elif right + 5 + length <= self._width:
            x, anchor, place = right + 5, "start", "beside"
        else:
            x, anchor, place = max(left - 5, length), "end", "beside"
        self._parts.append(_tag("text", escape(text), kind=place, x=x, y=self._y + 12, text_anchor=anchor))
        self._y += _ROW
        return x - length if anchor == "end" else left

    def _columns(self, kind: RequestKind, title: str) -> None:
        requests = tuple(each for each in self._evidence.requests if each.kind == kind)
        if not requests:
            return
        self._lane(title)
        span = self._end - self._start
        seconds = max(1.0, math.ceil(span / _MOST_COLUMNS[self._width]))
        buckets = per_bucket(requests, self._start, seconds, math.ceil(span / seconds))
        highest = max([1, *map(len, buckets)])
        base = self._y + _COLUMNS
        for index, bucket in enumerate(buckets):
            begin = self._start + index * seconds
            self._column(bucket, begin, begin + seconds, base, (_COLUMNS - 2) / highest)
        self._line("base", _LEFT, self._width - _RIGHT, base)
        self._y = base + 6

    def _column(self, bucket: list[Request], begin: float, end: float, base: float, scale: float) -> None:
        left, width = self._x(begin), max(self._x(end) - self._x(begin) - 1, 1)
        for name in _STACK:
            count = sum(outcome_class(each) == name for each in bucket)
            if count:
                base -= count * scale
                told = f"<title>+{begin - self._zero:.0f} s: {count} {name}</title>"
                self._parts.append(
                    _tag("rect", told, kind=name, x=left, y=base, width=width, height=count * scale)
                )

    def _axis(self) -> str:
        """Grid, and the moments that matter."""
        parts = []
        bottom = self._y + 4
        wanted = (self._end - self._start) / (self._width / 70)
        step = next((tick for tick in _TICKS if tick >= wanted), _TICKS[-1])
        first = math.ceil((self._start - self._zero) / step)
        for tick in range(first, math.floor((self._end - self._zero) / step) + 1):
            x = self._x(self._zero + tick * step)
            anchor = "end" if x > self._width - 30 else "start" if x < 20 else "middle"
            parts.append(_tag("line", kind="grid", x1=x, x2=x, y1=_TOP, y2=bottom))
            parts.append(
                _tag("text", f"{tick * step} s", kind="tick", x=x, y=bottom + 14, text_anchor=anchor)
            )
        moments = [(self._zero, "webhook")] if self._summary.move else []
        if self._summary.commit_point:
            moments.append((self._summary.commit_point, "node-b takes over"))
        for moment, name in moments:
            x = self._x(moment)
            anchor = "end" if x > self._width - len(name) * _CHARACTER else "start"
            parts.append(_tag("line", kind="moment", x1=x, x2=x, y1=_TOP - 4, y2=bottom))
            parts.append(_tag("text", name, kind="moment", x=x, y=12, text_anchor=anchor))
        return "".join(parts)


def outcome_class(request: Request) -> str:
    """The colour class of a request: which node it went well on, or how it did not."""
    if request.outcome == "ok":
        return str(request.node)
    return "refused" if request.outcome == "refused" else "bad"


def _class(row: Action) -> str:
    return "bad" if row.status in ("failed", "timed_out") else row.node


def _window(evidence: Evidence, move: Job | None) -> tuple[float, float, float]:
    """The moment that counts as 0, and the first and last one of the picture."""
    if move:
        end = move.finished or evidence.setting.ended
        return move.created, move.created - _LEAD_SECONDS, end + _TAIL_SECONDS
    began = min([evidence.setting.began, *(job.created for job in evidence.jobs)])
    return began, began, max(evidence.setting.ended, began + 1.0)


def _described(evidence: Evidence, summary: Summary) -> str:
    if not summary.move:
        return "Timeline of the run: no job moved the site."
    done = [f"{row.node} {row.op}" for row in summary.move.actions if row.status == "success"]
    return (
        f"Timeline of the move: {', '.join(done) or 'nothing was done'}; {len(evidence.requests)} requests."
    )


def _tag(name: str, content: str = "", *, kind: str, **attributes: object) -> str:
    """An element of class `kind`; underscores in attributes stand for dashes."""
    given = {"class": kind, **{key.replace("_", "-"): value for key, value in attributes.items()}}
    written = (
        f' {key}="{f"{value:.1f}" if isinstance(value, float) else escape(str(value))}"'
        for key, value in given.items()
    )
    return f"<{name}{''.join(written)}>{content}</{name}>"
