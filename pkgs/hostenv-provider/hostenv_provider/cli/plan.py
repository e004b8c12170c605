"""`hostenv-provider plan`: all projects planned anew, without a deployment."""

import argparse

from hostenv_provider import generated
from hostenv_provider.config import Config
from hostenv_provider.planning import plan_all, publish
from hostenv_provider.repository import Repository


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "plan", help="plan all projects from provider.json and their flakes, at the revisions that they have"
    )
    parser.add_argument("--dry-run", action="store_true", help="show the difference and write nothing")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Raises HostenvError."""
    repository = Repository(config)
    with repository.changing():
        plan, state = plan_all(repository)
        if arguments.dry_run:
            print(generated.unified_diff(repository.read_generated(), generated.render(plan, state)), end="")
            return 0
        repository.write_generated(plan, state)
        sha = publish(repository, "Plan of all projects")
    print("the plan is up to date" if sha is None else f"the plan has changed: {sha}")
    return 0
