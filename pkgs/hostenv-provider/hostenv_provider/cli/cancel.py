"""`hostenv-provider cancel`: end a job that should not go on, before its commit point."""

import argparse
import os

from hostenv_provider.config import Config
from hostenv_provider.web.client import Client


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "cancel",
        help="end a job before it has deployed anything; nodes undo what they did for it",
        epilog="example: hostenv-provider cancel 44cd22cd",
    )
    parser.add_argument("job", metavar="JOB", help="id of a job, or its beginning")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Raises HostenvError."""
    client = Client(config)
    job_id = client.find_job(arguments.job)
    client.cancel(job_id, os.environ.get("SUDO_USER") or os.environ.get("LOGNAME") or "an operator")
    print(job_id)
    return 0
