"""`hostenv-provider jobs`: what was asked for and what became of it."""

import argparse
import json

from hostenv_core.errors import HostenvError
from hostenv_core.lines import printable
from hostenv_core.states import ENDED, JobState

from hostenv_provider.config import Config
from hostenv_provider.web.client import Client

_Document = dict[str, object]


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "jobs",
        help="list the newest jobs, or show one",
        epilog="example: hostenv-provider jobs --follow",
    )
    parser.add_argument("job", metavar="JOB", nargs="?", help="id of a job, or its beginning")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="show a job, without JOB the newest, until it ends; exit status 1 unless it succeeds",
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON, with --follow a line for each change"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Raises HostenvError."""
    client = Client(config)
    if arguments.job is None and not arguments.follow:
        jobs = client.jobs()
        lines = [_text(job)[0] for job in jobs]
        print(json.dumps(jobs, indent=2) if arguments.json else "\n".join(lines) or "no jobs yet")
        return 0
    job_id = _newest(client) if arguments.job is None else client.find_job(arguments.job)
    if arguments.follow:
        return _follow(client, job_id, as_json=arguments.json)
    job, _ = client.job(job_id)
    print(json.dumps(job, indent=2) if arguments.json else "\n".join(_text(job)))
    return 0


def _newest(client: Client) -> str:
    jobs = client.jobs()
    if not jobs:
        raise HostenvError("there are no jobs yet")
    return str(jobs[0]["jobId"])


def _follow(client: Client, job_id: str, *, as_json: bool) -> int:
    job, tag = client.job(job_id)
    shown: list[str] = []
    while True:
        if as_json:
            print(json.dumps(job), flush=True)
        else:
            lines = _text(job)
            for line in lines:
                if line not in shown:
                    print(line, flush=True)
            shown = lines
        if job["state"] in ENDED:
            return 0 if job["state"] == JobState.SUCCEEDED else 1
        last = job
        while job == last:
            job, tag = client.job(job_id, tag)


def _text(job: _Document) -> list[str]:
    # Nodes and projects have written parts of it, and the terminal is the operator's.
    return [printable(line) for line in (_line(job), *_details(job))]


def _line(job: _Document) -> str:
    commit = str(job["commitSha"] or "")[:12]
    stage = f" ({job['stage']})" if job["state"] == JobState.RUNNING and job["stage"] else ""
    text = f"{job['jobId']}  {str(job['createdAt'])[:19]}  {job['project']}  {job['state']}{stage}  {commit}"
    return text.rstrip()


def _details(job: _Document) -> list[str]:
    lines = []
    actions = job["actions"]
    assert isinstance(actions, list)
    for action in actions:
        message = f": {action['message']}" if action["message"] else ""
        lines.append(
            f"  {action['node']:<12} {action['op']:<10} {action['user']}  {action['status']}{message}"
        )
    notes = job["notes"]
    assert isinstance(notes, list)
    lines += [f"  {note['node']:<12} {note['message']}" for note in notes]
    if job["waitsFor"]:
        lines.append(f"  waits for: {job['waitsFor']}")
    if job["reason"]:
        lines.append(f"  {job['state']}: {job['reason']}")
    return lines
