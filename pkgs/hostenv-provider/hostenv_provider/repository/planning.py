"""Planning with its effects, for the command line: projects are evaluated, the new plan is pushed."""

import sys
import time
from dataclasses import replace

from hostenv_core import names
from hostenv_core.errors import HostenvError

from hostenv_provider import dns
from hostenv_provider.plan import host_proofs
from hostenv_provider.plan.dns_gate import TimeLimit
from hostenv_provider.plan.placement import make_plan
from hostenv_provider.plan.plan import Plan, State
from hostenv_provider.repository.projects import Projects
from hostenv_provider.repository.repository import PushRejected, Repository


def plan_all(repository: Repository) -> tuple[Plan, State]:
    """Plan every project as it is locked; those that are no longer in `flake.lock` leave the plan.

    Environments keep their revisions; only one without any gets the head of its branch.
    Raises InvalidData or CommandFailed.
    """
    previous, state = repository.read_plan(), repository.read_state()
    keys = sorted(Projects(repository).inputs())
    kept = {user: each for user, each in previous.environments.items() if each.project_key in keys}
    plan = replace(Plan.empty(repository.read_settings()), environments=kept)
    for key in keys:
        plan, state = plan_project(repository, key, plan, state)
    return plan, state


def plan_project(repository: Repository, key: str, previous: Plan, state: State) -> tuple[Plan, State]:
    """Plan one project as it is locked; warnings go to the terminal. Raises InvalidData or CommandFailed."""
    projects = Projects(repository)
    definitions = projects.evaluate(key)
    sources = projects.sources(key, definitions, previous, lambda _: False)
    organisation, project = names.parse_input_name(key)
    settings = repository.read_settings()
    limit = TimeLimit(time.monotonic)
    aliases = host_proofs.look_up(key, settings, definitions, state, dns.names_of, limit)
    plan, state, warnings = make_plan(
        settings, organisation, project, definitions, sources, previous, state, aliases
    )
    for warning in warnings:
        print(f"hostenv-provider: warning: {warning}", file=sys.stderr)
    return plan, state


def publish(repository: Repository, message: str) -> str | None:
    """Commit and push what has changed in the work tree. Returns the SHA, None if nothing has changed.

    Raises HostenvError if somebody else pushed in the meantime.
    """
    if not repository.changed():
        return None
    sha = repository.commit(message)
    try:
        repository.push(sha)
    except PushRejected as error:
        raise HostenvError(
            "somebody pushed to the provider repository in the meantime: run this again"
        ) from error
    return sha
