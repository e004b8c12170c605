"""The command `trigger-webhook.sh` (contract 9): what a Git host sends after a push, and what comes of it."""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.states import ENDED

from hostenv_demo.names import LINK, PROJECT_HASH
from hostenv_demo.provider_service import Document, ProviderService

_COMMIT = re.compile(r"[0-9a-f]{4,64}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 succeeded, 1 failed, 2 usage, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        return _trigger(ProviderService(options.workdir), options.commit_sha, options.follow)
    except HostenvError as error:
        _say(f"trigger-webhook: {error}")
        return 1
    except KeyboardInterrupt:
        _say("trigger-webhook: interrupted; the job goes on")
        return 130


def push_body(commit_sha: str | None) -> Document:
    """A push of the project's branch, to this commit if one is given."""
    return {"ref": "refs/heads/main", **({"after": commit_sha} if commit_sha else {})}


def action_lines(job: Document) -> list[str]:
    """A line for the job's state and one for each of its actions, as a person reads them."""
    actions = job["actions"]
    assert isinstance(actions, list)
    lines = [f"job {str(job['jobId'])[:8]}: {job['state']}"]
    for action in actions:
        message = f": {action['message']}" if action["message"] else ""
        lines.append(f"  {action['node']:<9} {action['op']:<10} {action['status']}{message}")
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trigger-webhook.sh",
        description="Sends one webhook to the provider of a demo that runs, waits for the job that it starts,"
        " and prints that job as JSON. Exit status 0 only if the job succeeded.",
        epilog="Example: ./trigger-webhook.sh --workdir ./hostenv-demo --follow",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--workdir", type=Path, default=LINK, metavar="DIR", help=f"the run's work folder (./{LINK})"
    )
    parser.add_argument(
        "--commit-sha", type=_commit, metavar="SHA", help="the commit that the push is said to bring"
    )
    parser.add_argument("--follow", action="store_true", help="show each action on standard error")
    return parser


def _commit(text: str) -> str:
    if not _COMMIT.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a commit: 4 to 64 hexadecimal digits")
    return text


def _trigger(service: ProviderService, commit_sha: str | None, follow: bool) -> int:
    answer = service.push(PROJECT_HASH, push_body(commit_sha))
    if not answer["accepted"]:
        _say(f"the provider ignored the push: {answer['reason']}")
        print(json.dumps(answer, indent=2))
        return 1
    _say(f"the provider accepted the push as job {answer['jobId']}; waiting for its end")
    job = _ended(service, str(answer["jobId"]), follow)
    if job["reason"]:
        _say(f"the job {job['state']}: {job['reason']}")
    print(json.dumps(job, indent=2))
    return 0 if job["state"] == "succeeded" else 1


def _ended(service: ProviderService, job_id: str, follow: bool) -> Document:
    shown: list[str] = []
    job, tag = service.job(job_id)
    while True:
        lines = action_lines(job)
        if follow:
            for line in lines:
                if line not in shown:
                    _say(line)
        shown = lines
        if job["state"] in ENDED:
            return job
        job, tag = service.job(job_id, tag)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
