"""What the user's side is asked to do for an operation, as lists of steps. Pure."""

from collections.abc import Sequence

from hostenv_node.config import Config
from hostenv_node.environment import steps
from hostenv_node.environment.entry import Environment
from hostenv_node.environment.layout import Layout
from hostenv_node.environment.steps import Step
from hostenv_node.render.files import Rendered


def write(rendered: Rendered, secrets: Sequence[steps.File] = ()) -> list[Step]:
    """Configuration and units; secrets too when they are given, else those there stay."""
    written: list[Step] = [steps.WriteSecrets(tuple(secrets))] if secrets else []
    return [*written, steps.WriteFiles(rendered.directories, rendered.files), steps.LoadUnits()]


def lay_out(environment: Environment, config: Config, release: str) -> list[Step]:
    """Finish the release whose source was unpacked."""
    application = config.applications.get(environment.application)
    operator = None if application is None else steps.OperatorCode(str(application.root), application.docroot)
    return [steps.LayOutRelease(release, environment.docroot, operator)]


def hold() -> list[Step]:
    """The customer's units are not touched: those that are enabled here start when it thaws, not before."""
    return [steps.Hold(("default.target",))]


def receive(layout: Layout, rendered: Rendered) -> Step:
    """Let the database that was restored run."""
    return steps.ReceiveBase(_unit_files(rendered, [layout.mysql_unit]))


def warm_up(layout: Layout, rendered: Rendered, release: str) -> list[Step]:
    """Let everything run that serves, though nobody is served yet and the last changes are to come."""
    return [
        *hold(),
        receive(layout, rendered),
        steps.ActivateRelease(release, ()),
        steps.StartUnits(_unit_files(rendered, layout.units)),
    ]


def first_start(environment: Environment, layout: Layout, rendered: Rendered, release: str) -> list[Step]:
    """Nobody is served yet: data, then the application, then the units."""
    return [
        *hold(),
        steps.EnsureDatabase(_unit_files(rendered, [layout.mysql_unit])),
        *_application(environment, release, update=True),
        steps.ActivateRelease(release, ()),
        steps.StartUnits(_unit_files(rendered, layout.units)),
    ]


def change(
    environment: Environment,
    layout: Layout,
    rendered: Rendered,
    release: str,
    *,
    keep: Sequence[str] = (),
    update: bool,
) -> list[Step]:
    """Visitors are served: the release changes first, so that old code does not fill emptied caches.

    `update` says whether the code is new: it may be newer than the database, and must answer before it is
    served.
    """
    candidate = steps.CheckCandidate(
        release, environment.hostname, environment.checks, environment.application
    )
    return [
        steps.EnsureDatabase(_unit_files(rendered, [layout.mysql_unit])),
        *([candidate] if update else []),
        steps.ActivateRelease(release, tuple(keep)),
        steps.StartUnits(_unit_files(rendered, layout.units)),
        *_application(environment, release, update=update),
    ]


def refresh(layout: Layout, rendered: Rendered) -> list[Step]:
    """Let what answers visitors use the files that were written; the database need not start again."""
    return [steps.RefreshUnits(_unit_files(rendered, [layout.fpm_unit, layout.nginx_unit]))]


def _application(environment: Environment, release: str, *, update: bool) -> list[Step]:
    if environment.application != "drupal":
        return []
    return [steps.PrepareApplication(release, environment.profile, environment.hostname, update)]


def _unit_files(rendered: Rendered, units: Sequence[str]) -> steps.UnitFiles:
    return {unit: paths for unit, paths in rendered.unit_files.items() if unit in units}
