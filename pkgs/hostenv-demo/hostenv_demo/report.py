"""`report.html`: one page about one run, from its evidence. It loads nothing and runs nothing."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib import resources
from textwrap import shorten

from hostenv_demo import picture
from hostenv_demo.evidence import OUTCOMES, Evidence, Job
from hostenv_demo.summary import Same, Summary, summarise

_STYLE = resources.files("hostenv_demo").joinpath("report.css").read_text(encoding="utf-8")
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_LEGEND = (
    ("provider", "provider"),
    ("node-a", "node-a"),
    ("node-b", "node-b"),
    ("refused", "refused for a moment (503)"),
    ("bad", "failed"),
)
_VERSION_LENGTH = 60
_FILES = "events.jsonl, requests.jsonl, actions.jsonl, jobs.json, versions.json"


def render(evidence: Evidence) -> str:
    """The whole page, self-contained."""
    summary = summarise(evidence)
    sections = (
        _verdict(evidence, summary),
        _numbers(evidence, summary),
        _timeline(evidence, summary),
        _checksums(evidence, summary),
        _visitors(evidence),
        _stages(evidence),
        _jobs(evidence.jobs),
        _versions(evidence),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(summary.headline)}</title><style>{_STYLE}</style></head><body><main>"
        f"{''.join(sections)}"
        f'<p class="soft">Everything on this page comes from the files beside it: {_FILES}.</p>'
        "</main></body></html>\n"
    )


def _verdict(evidence: Evidence, summary: Summary) -> str:
    when = datetime.fromtimestamp(evidence.setting.began, UTC)
    took = evidence.setting.ended - evidence.setting.began
    parts = "".join(f", {name}: {value}" for name, value in evidence.setting.parts.items())
    mark, kind = ("✓", "passed") if summary.passed else ("✗", "failed")
    error = f"<pre>{escape(evidence.setting.error)}</pre>" if evidence.setting.error else ""
    return (
        f'<header class="verdict {kind}"><h1>{mark} {escape(summary.headline)}</h1>'
        f"<p>{escape(summary.explanation)}</p>{error}"
        f'<p class="when">{when:%Y-%m-%d %H:%M} UTC, {took:.0f} s in all{escape(parts)}</p></header>'
    )


def _numbers(evidence: Evidence, summary: Summary) -> str:
    cards: list[tuple[str, str, str]] = []
    if summary.move and summary.move.finished:
        seconds = summary.move.finished - summary.move.created
        cards.append(("the move took", f"{seconds:.1f} s", "from webhook to the last action"))
    if summary.reads:
        served = summary.reads - summary.unread
        cards.append(("pages served", _share(served, summary.reads), f"{served} of {summary.reads} requests"))
    if summary.refused:
        first, last = summary.refused
        cards.append(("writes paused for", f"{last - first:.1f} s", "answered 503, try again"))
    if evidence.notes:
        found = evidence.notes.accepted - len(evidence.notes.lost)
        cards.append(
            (
                "notes lost",
                str(len(evidence.notes.lost)),
                f"{found} of {evidence.notes.accepted} accepted ones found",
            )
        )
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd></div>"
        for name, value, more in cards
    )
    return f'<dl class="numbers">{cells}</dl>' if cells else ""


def _timeline(evidence: Evidence, summary: Summary) -> str:
    entries = "".join(f'<li><i class="{name}"></i>{escape(text)}</li>' for name, text in _LEGEND)
    drawn = "".join(
        f'<div class="{name}">{picture.draw(evidence, summary, width)}</div>'
        for name, width in (("wide", picture.WIDE), ("narrow", picture.NARROW))
    )
    title = "The move, second by second" if summary.move else "The run, second by second"
    return f'<section id="timeline"><h2>{title}</h2><ul class="legend">{entries}</ul>{drawn}</section>'


def _checksums(evidence: Evidence, summary: Summary) -> str:
    if evidence.before is None:
        return ""
    if evidence.after is None or summary.tables is None or summary.files is None:
        text = f"Taken on node-a before the move: {len(evidence.before.tables)} tables and"
        return _section(
            "Is it the same data?", f"<p>{text} {len(evidence.before.files)} files; none after it.</p>"
        )
    said = f"<p>{_same(summary.tables, 'tables')}, {_same(summary.files, 'public files')}.</p>"
    tables = _compared(evidence.before.tables, evidence.after.tables)
    files = _compared(evidence.before.files, evidence.after.files)
    titles = ("", "before, on node-a", "after, on node-b")
    details = "".join(
        f"<details><summary>{name}</summary>{_table(titles, rows)}</details>"
        for name, rows in (("Tables", tables), ("Files", files))
    )
    return _section("Is it the same data?", said + details)


def _visitors(evidence: Evidence) -> str:
    if not evidence.requests:
        return ""
    rows = []
    for kind, name in (("read", "read a page"), ("write", "wrote a note")):
        found = [each.outcome for each in evidence.requests if each.kind == kind]
        rows.append([_cell(name), *(_cell(str(found.count(each)), "number") for each in OUTCOMES)])
    return _section("What visitors got", _table(("", *OUTCOMES), rows))


def _stages(evidence: Evidence) -> str:
    rows = [
        [
            _cell(stage.name),
            _cell("did not end", "no")
            if stage.seconds is None
            else _cell(f"{stage.seconds:.1f} s", "number"),
        ]
        for stage in evidence.stages
    ]
    return _section("Stages", _table(("stage", "took"), rows)) if rows else ""


def _jobs(jobs: Sequence[Job]) -> str:
    rows = []
    for job in jobs:
        name = f"{job.job_id[:8]} {job.state}" + (f", commit {job.commit[:10]}" if job.commit else "")
        if not job.actions:
            rows.append([_cell(name), _cell(job.reason or "nothing to do"), _cell(""), _cell("")])
        for index, row in enumerate(job.actions):
            took = row.finished - row.started if row.started and row.finished else None
            good = row.status == "success"
            said = row.status if good or not row.message else f"{row.status}: {row.message}"
            rows.append(
                [
                    _cell("" if index else name),
                    _cell(f"{row.node}: {row.op}"),
                    _cell(said, "" if good else "no"),
                    _cell("" if took is None else f"{took:.1f} s", "number"),
                ]
            )
    return _section("Jobs", _table(("job", "action", "outcome", "took"), rows)) if rows else ""


def _versions(evidence: Evidence) -> str:
    machines = sorted(evidence.versions)
    parts = sorted({part for found in evidence.versions.values() for part in found})
    rows = [
        [_cell(part), *(_cell(_short(evidence.versions[machine].get(part, ""))) for machine in machines)]
        for part in parts
    ]
    return _section("Versions", _table(("part", *machines), rows)) if rows else ""


def _short(version: str) -> str:
    """The beginning of a version, which tells it; the whole text is in the evidence."""
    return shorten(version, _VERSION_LENGTH, placeholder=" …")


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str, kind: str = "") -> str:
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def _compared(before: Mapping[str, str], after: Mapping[str, str]) -> list[list[str]]:
    rows = []
    for name in sorted({*before, *after}):
        old, new = before.get(name, "missing"), after.get(name, "missing")
        rows.append(
            [_cell(name), _cell(old[:16], "mono"), _cell(new[:16], "mono" if old == new else "mono no")]
        )
    return rows


def _same(found: Same, what: str) -> str:
    return f"{found.same} of {found.total} {what} are identical"


def _share(part: int, whole: int) -> str:
    # never rounded up to all of it
    return "100 %" if part == whole else f"{min(100 * part / whole, 99.9):.1f} %"
