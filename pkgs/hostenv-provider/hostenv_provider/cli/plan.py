"""`hostenv-provider plan`: all projects planned anew, without a deployment."""

import argparse
import json
import sys

from hostenv_provider.config import Config
from hostenv_provider.plan import generated
from hostenv_provider.repository.planning import plan_all, publish
from hostenv_provider.repository.repository import Repository


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "plan",
        help="plan all projects from provider.json and their flakes, at the revisions that they have",
        epilog="example: hostenv-provider plan --dry-run",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the difference and write nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Raises HostenvError."""
    repository = Repository(config)
    with repository.changing():
        plan, state = plan_all(repository)
        if arguments.dry_run:
            diff = generated.unified_diff(repository.read_generated(), generated.render(plan, state))
            print(json.dumps({"changed": bool(diff), "diff": diff}) if arguments.json else diff, end="")
            if not diff and not arguments.json:
                print("the plan would not change", file=sys.stderr)
            return 0
        repository.write_generated(plan, state)
        sha = publish(repository, "Plan of all projects")
    if arguments.json:
        print(json.dumps({"changed": sha is not None, "commitSha": sha}))
        return 0
    print("the plan is up to date" if sha is None else f"the plan has changed: {sha}")
    return 0
