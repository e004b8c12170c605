"""What the user's side is asked to do, as lists of steps (`user.apply.STEPS`). Pure."""

from collections.abc import Mapping, Sequence

from hostenv_node.config import Config
from hostenv_node.environment.entry import Environment
from hostenv_node.environment.layout import Layout
from hostenv_node.render.files import render, render_secrets
from hostenv_node.runtime.as_user import Step


def write(
    environment: Environment, layout: Layout, config: Config, secrets: Mapping[str, str] | None
) -> list[Step]:
    """Configuration and units; secrets too when they are given, else those there stay."""
    steps: list[Step] = [("files", render(environment, layout, config).to_json()), ("load", {})]
    if secrets is not None:
        files = [[file.path, file.content, file.mode] for file in render_secrets(layout, secrets)]
        steps.insert(0, ("secrets", {"files": files}))
    return steps


def lay_out(environment: Environment, config: Config, release: str) -> list[Step]:
    """Finish the release whose source was unpacked."""
    application = config.applications.get(environment.application)
    operator = (
        {}
        if application is None
        else {"operatorRoot": str(application.root), "operatorDocroot": application.docroot}
    )
    return [("layOut", {"name": release, "docroot": environment.docroot, **operator})]


def hold() -> list[Step]:
    """The customer's units do not move: those that are enabled here start when it thaws, and not before."""
    return [("hold", {"units": ["default.target"]})]


def first_start(environment: Environment, layout: Layout, config: Config, release: str) -> list[Step]:
    """Nobody is served yet: data, then the application, then the units."""
    return [
        *hold(),
        ("database", _start(environment, layout, config, [layout.mysql_unit])),
        *_application(environment, release, True),
        ("switch", {"name": release, "keep": []}),
        ("start", _start(environment, layout, config, layout.units)),
    ]


def change(
    environment: Environment, layout: Layout, config: Config, release: str, keep: Sequence[str], update: bool
) -> list[Step]:
    """Visitors are served: the release changes first, lest old code fill caches that were emptied.

    `update` says whether the code is new: it may be newer than the database, and must answer before it is
    served.
    """
    return [
        ("database", _start(environment, layout, config, [layout.mysql_unit])),
        *(_candidate(environment, release) if update else []),
        ("switch", {"name": release, "keep": list(keep)}),
        ("start", _start(environment, layout, config, layout.units)),
        *_application(environment, release, update),
    ]


def take_up(environment: Environment, layout: Layout, config: Config) -> list[Step]:
    """Let what answers visitors agree with files that were written; the database need not start again."""
    return [("takeUp", _start(environment, layout, config, [layout.fpm_unit, layout.nginx_unit]))]


def _candidate(environment: Environment, release: str) -> list[Step]:
    checks = [check.to_json() for check in environment.checks]
    return [("candidate", {"name": release, "checks": checks, "application": environment.application})]


def _application(environment: Environment, release: str, update: bool) -> list[Step]:
    if environment.application != "drupal":
        return []
    arguments = {
        "name": release,
        "profile": environment.profile,
        "hostname": environment.hostname,
        "update": update,
    }
    return [("application", arguments)]


def _start(
    environment: Environment, layout: Layout, config: Config, units: Sequence[str]
) -> dict[str, object]:
    unit_files = render(environment, layout, config).unit_files
    return {"unitFiles": {unit: list(paths) for unit, paths in unit_files.items() if unit in units}}
