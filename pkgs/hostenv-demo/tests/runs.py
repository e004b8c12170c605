"""Evidence of invented runs."""

from dataclasses import replace

from hostenv_demo.evidence import (
    Action,
    Checksums,
    Evidence,
    Job,
    Notes,
    Outcome,
    Request,
    RequestKind,
    Setting,
    Stage,
)

BEGIN = 1_000_000.0
USER = "drupal-main-2855093"


def action(
    node: str, op: str, started: float | None, finished: float | None, status: str = "success"
) -> Action:
    moments = [None if each is None else BEGIN + each for each in (started, finished)]
    return Action(node, op, USER, status, None, *moments)


def job(job_id: str, created: float, finished: float, *actions: Action, state: str = "succeeded") -> Job:
    waiting = BEGIN + created + 1
    return Job(
        job_id,
        state,
        None,
        "c0ffee" * 6,
        BEGIN + created,
        BEGIN + created,
        waiting,
        BEGIN + finished,
        actions,
    )


def request(moment: float, kind: RequestKind, node: str | None, status: int, outcome: Outcome) -> Request:
    return Request(
        BEGIN + moment, kind, node, status, outcome, 0.01, "visitor 1" if kind == "write" else None
    )


MOVE = job(
    "22222222-aaaa",
    20,
    40,
    action("node-a", "backup", 22, 25),
    action("node-a", "deactivate", 37, 40),
    action("node-b", "restore", 25, 31),
    action("node-b", "activate", 31, 36),
    action("provider", "verify", 36, 36.5),
)
REQUESTS = (
    request(19, "read", "node-a", 200, "ok"),
    request(19, "write", "node-a", 201, "ok"),
    request(23, "write", "node-a", 503, "refused"),
    request(35, "write", "node-b", 503, "refused"),
    request(36, "read", "node-a", 502, "failed"),
    request(37, "read", "node-b", 200, "ok"),
    request(38, "write", "node-b", 201, "ok"),
)
CHECKSUMS = Checksums({"db.articles": "123", "db.marker": "456"}, {"./a.png": "ab" * 32})
PASSED = Evidence(
    setting=Setting(BEGIN, BEGIN + 60, None, {"machines": "containers", "comin": "the lab's stand-in"}),
    stages=(Stage("Boot", BEGIN, 5.0), Stage("Move", BEGIN + 19, 22.0)),
    jobs=(job("11111111-aaaa", 5, 15, action("node-a", "activate", 7, 14)), MOVE),
    requests=REQUESTS,
    before=CHECKSUMS,
    after=CHECKSUMS,
    notes=Notes(2, ()),
    versions={"node-a": {"nginx": "nginx/1.26"}, "provider": {"git": "git version 2.47"}},
)
_BROKEN = replace(MOVE.actions[2], status="failed", message="no snapshot <script>alert(1)</script>")
FAILED = replace(
    PASSED,
    setting=replace(PASSED.setting, error="RequestedAssertionFailed: <b>the job failed</b>"),
    stages=(Stage("Boot", BEGIN, 5.0), Stage("Move", BEGIN + 19, None)),
    jobs=(PASSED.jobs[0], replace(MOVE, state="failed", actions=(MOVE.actions[0], _BROKEN))),
    after=None,
    notes=None,
)
NOTHING = Evidence(setting=Setting(BEGIN, BEGIN + 3, "MachineError: node-a did not boot", {}))
