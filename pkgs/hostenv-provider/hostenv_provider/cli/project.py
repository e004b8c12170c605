"""`hostenv-provider project`: one more project, planned but not yet deployed; the host names of one."""

import argparse
import sys
from collections.abc import Mapping

from hostenv_core import names
from hostenv_core.errors import InvalidData

from hostenv_provider.config import Config
from hostenv_provider.plan import flake_template
from hostenv_provider.plan.node_tree import FLAKE
from hostenv_provider.plan.plan import Environment
from hostenv_provider.repository.planning import plan_project, publish
from hostenv_provider.repository.projects import Projects
from hostenv_provider.repository.repository import Repository
from hostenv_provider.secrets import webhook_secrets


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    project = commands.add_parser("project", help="the projects whose environments are hosted")
    actions = project.add_subparsers(required=True, metavar="add|hosts")
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
    parser.add_argument(
        "--host",
        dest="hosts",
        action="append",
        default=[],
        metavar="PATTERN",
        help="grant it a host name, all below a domain (*.example.org) or any (*), after dns: only what DNS"
        " proves (dns:*); else it has its own",
    )
    parser.set_defaults(run=run)
    parser = actions.add_parser(
        "hosts",
        help="show which host names a project may have, and change it",
        epilog="example: hostenv-provider project hosts demo__drupal --add '*.example.org'",
    )
    parser.add_argument("name", metavar="NAME", help="<organisation>__<project>")
    parser.add_argument(
        "--add",
        action="append",
        default=[],
        metavar="PATTERN",
        help="grant a name, *.<domain>, or *, or dns: and one of them",
    )
    parser.add_argument("--remove", action="append", default=[], metavar="PATTERN", help="take a grant back")
    parser.set_defaults(run=run_hosts)


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Raises HostenvError."""
    key = "__".join(names.parse_input_name(arguments.name))
    url = flake_template.check_url(arguments.url)
    repository = Repository(config)
    with repository.changing():
        known = Projects(repository).inputs()
        if key not in known:
            repository.set_hosts(key, arguments.hosts)
            environments = _add(repository, arguments.name, key, url)
        elif arguments.hosts:
            raise InvalidData(f"{key} is there already: hostenv-provider project hosts {key} --add PATTERN")
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


def run_hosts(arguments: argparse.Namespace, config: Config) -> int:
    """Raises HostenvError."""
    key = "__".join(names.parse_input_name(arguments.name))
    repository = Repository(config)
    with repository.changing():
        if key not in Projects(repository).inputs():
            raise InvalidData(f"flake.nix: there is no project {key}: hostenv-provider project add {key} URL")
        grants = repository.read_settings().grants.get(key)
        if arguments.add or arguments.remove:
            if grants is None:
                # The first change must not take away names that the project already has.
                grants = _held(repository, key)
            grants = tuple(sorted({*grants, *arguments.add}.difference(arguments.remove)))
            repository.set_hosts(key, grants)
            plan, state = plan_project(repository, key, repository.read_plan(), repository.read_state())
            repository.write_generated(plan, state)
            publish(repository, f"Host names of {key}")
            print("a push or `hostenv-provider trigger` deploys it", file=sys.stderr)
    print("any name that is free: nothing was decided yet" if grants is None else "\n".join(grants) or "none")
    return 0


def _held(repository: Repository, key: str) -> tuple[str, ...]:
    plan, state = repository.read_plan(), repository.read_state()
    return tuple(
        host
        for user, environment in plan.of_project(key).items()
        if user in state.reservations
        for host in state.reservations[user].virtual_hosts
        if host != environment.hostname
    )


def _add(repository: Repository, name: str, key: str, url: str) -> Mapping[str, Environment]:
    repository.write_text(FLAKE, flake_template.add_project(repository.read_text(FLAKE), name, url))
    projects = Projects(repository)
    with projects.trusting(url):
        projects.lock_input(name)
        plan, state = plan_project(repository, key, repository.read_plan(), repository.read_state())
        repository.write_generated(plan, state)
        publish(repository, f"Project {key}")
    return plan.of_project(key)
