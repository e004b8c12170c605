"""How commands that start a job answer: a person gets the id and what to do with it, a script JSON."""

import argparse
import json
import sys

from hostenv_provider.web.client import Client


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def start(client: Client, request: dict[str, object], *, as_json: bool) -> int:
    """Ask for a job and say which it is; returns the exit status. Raises HostenvError."""
    job_id = client.start_job(request)
    if as_json:
        print(json.dumps({"accepted": True, "jobId": job_id}))
        return 0
    print(job_id)
    print(f"accepted; follow it with: hostenv-provider jobs {job_id[:8]} --follow", file=sys.stderr)
    return 0
