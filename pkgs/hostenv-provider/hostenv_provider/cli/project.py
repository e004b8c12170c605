"""`hostenv-provider project add`: one more project, planned but not yet deployed."""

import argparse
from collections.abc import Mapping

from hostenv_provider import flake_template, names, projects, webhook_secrets
from hostenv_provider.config import Config
from hostenv_provider.errors import InvalidData
from hostenv_provider.plan import Environment
from hostenv_provider.planning import plan_project, publish
from hostenv_provider.repository import FLAKE, Repository


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    project = commands.add_parser("project", help="the projects whose environments are hosted")
    actions = project.add_subparsers(required=True, metavar="add")
    parser = actions.add_parser(
        "add",
        help="add a project, or make a new webhook secret for one that is there with the same address",
        epilog="example: hostenv-provider project add demo__drupal git+https://git.example.org/site.git",
    )
    parser.add_argument("name", metavar="NAME", help="<organisation>__<project>")
    parser.add_argument("url", metavar="URL", help="address of its Git repository, such as git+https://…")
    parser.add_argument(
        "--open-webhook", action="store_true", help="let anybody start its jobs, without a secret"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Raises HostenvError."""
    key = "__".join(names.parse_input_name(arguments.name))
    url = flake_template.check_url(arguments.url)
    repository = Repository(config)
    with repository.changing():
        known = projects.inputs(repository)
        if key not in known:
            environments = _add(repository, arguments.name, key, url)
        elif known[key].url == url:
            environments = repository.read_plan().of_project(key)
        else:
            raise InvalidData(
                f"flake.nix: {known[key].name} is there already, at {known[key].url}: edit it there"
            )
    secret = None
    if arguments.open_webhook:
        webhook_secrets.leave_open(config, key)
    else:
        secret = webhook_secrets.create(config, key)
    print(f"{key} is planned; a push or `hostenv-provider trigger` deploys it")
    for user, environment in sorted(environments.items()):
        print(f"  {environment.name}: {user} on {environment.node}, branch {environment.source.ref}")
        print(f"    webhook {config.public_url}/webhook/{environment.project_name_hash}")
    print("  open: anybody can start jobs" if secret is None else f"  secret, not shown again: {secret}")
    return 0


def _add(repository: Repository, name: str, key: str, url: str) -> Mapping[str, Environment]:
    repository.write_text(FLAKE, flake_template.add_project(repository.read_text(FLAKE), name, url))
    with projects.trusting(repository, url):
        projects.lock_input(repository, name)
        plan, state = plan_project(repository, key, repository.read_plan(), repository.read_state())
        repository.write_generated(plan, state)
        publish(repository, f"Project {key}")
    return plan.of_project(key)
