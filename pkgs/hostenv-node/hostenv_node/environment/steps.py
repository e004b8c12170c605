"""What root asks of the user's side: one step, one class; what it answers with, if anything."""

from collections.abc import Mapping
from dataclasses import dataclass

from hostenv_core.checks import Check

UnitFiles = Mapping[str, tuple[str, ...]]
"""Units to start, each with the files that it must be restarted for when they change."""


@dataclass(frozen=True)
class File:
    """One file that must exist, with its mode."""

    path: str
    content: str
    mode: int = 0o644


@dataclass(frozen=True)
class OperatorCode:
    """Code that the node's operator supplies, into which a project's is laid."""

    root: str
    docroot: str


@dataclass(frozen=True)
class WriteFiles:
    """Make directories and files, and remove others that an earlier step of this kind wrote."""

    directories: tuple[str, ...]
    files: tuple[File, ...]


@dataclass(frozen=True)
class WriteSecrets:
    """Write files that no other `WriteFiles` removes."""

    files: tuple[File, ...]


@dataclass(frozen=True)
class LoadUnits:
    """Let the user's manager read the unit files."""


@dataclass(frozen=True)
class StartUnits:
    """Start what serves, now and with the user's manager."""

    unit_files: UnitFiles


@dataclass(frozen=True)
class RefreshUnits:
    """Let running units use changed files, so that one that starts again later agrees with the others."""

    unit_files: UnitFiles


@dataclass(frozen=True)
class StopUnits:
    """Stop and disable everything of the environment; `manager_runs` is whether there can be any unit."""

    manager_runs: bool


@dataclass(frozen=True)
class EndProcesses:
    """Kill every other process of the user."""


@dataclass(frozen=True)
class BeginRelease:
    """Make an empty folder for the source of a release."""

    name: str


@dataclass(frozen=True)
class DropRelease:
    """Remove everything of a release that was not finished."""

    name: str


@dataclass(frozen=True)
class LayOutRelease:
    """Finish the release whose source was unpacked."""

    name: str
    docroot: str
    operator: OperatorCode | None


@dataclass(frozen=True)
class CheckCandidate:
    """Make the environment's checks of a release that is not served yet."""

    name: str
    hostname: str
    checks: tuple[Check, ...]
    application: str


@dataclass(frozen=True)
class ActivateRelease:
    """Serve a release, and remove all others except those to be kept."""

    name: str
    keep: tuple[str, ...]


@dataclass(frozen=True)
class Tidy:
    """Remove paths, and all releases except the served one and those to be kept."""

    paths: tuple[str, ...]
    keep: tuple[str, ...]


@dataclass(frozen=True)
class EnsureDatabase:
    """Run the environment's database server, with its database."""

    unit_files: UnitFiles


@dataclass(frozen=True)
class PrepareApplication:
    """Install the application of a release, or refresh its data: with `update` for code that is new."""

    release: str
    profile: str
    hostname: str
    update: bool


@dataclass(frozen=True)
class Freeze:
    """Let requests under way end, and stop the customer's own units."""


@dataclass(frozen=True)
class Hold:
    """Stop the customer's own units, and start these when it thaws."""

    units: tuple[str, ...]


@dataclass(frozen=True)
class Thaw:
    """Start again what was stopped."""


@dataclass(frozen=True)
class FindLosses:
    """Find what a copy of the database does not hold; answers with names by kind."""


@dataclass(frozen=True)
class CheckData:
    """Fail when data of the environment are not where a backup finds them."""


@dataclass(frozen=True)
class Backup:
    """Back up by each migration key; answers with the snapshot ids by key.

    `repository` is whether the backup server has one of this environment. With `physical` the database is
    saved as a copy of its files, else as a dump.
    """

    keys: tuple[str, ...]
    repository: bool
    physical: bool
    live: bool


@dataclass(frozen=True)
class LastDelta:
    """Answers with the number of the last archive of changes that was made; 0 before the first."""


@dataclass(frozen=True)
class MakeDelta:
    """Make an archive of what changed; with `compare` the target finds out whether tables are the same."""

    number: int
    compare: bool


@dataclass(frozen=True)
class MakeRest:
    """Make an archive of the last changes, while nothing writes any more; answers with its number."""


@dataclass(frozen=True)
class ReceiveBase:
    """Start the database that was restored, to take in what changed since."""

    unit_files: UnitFiles


@dataclass(frozen=True)
class TakeInDelta:
    """Make of the copy here what the source was at the end of an archive, which is unpacked already."""

    number: int


@dataclass(frozen=True)
class TakenIn:
    """Answers with the number of the last archive that was taken in, and whether nothing can follow it."""


@dataclass(frozen=True)
class Restore:
    """Replace the data by a snapshot's; the replaced data are set aside once per job."""

    job: str
    key: str
    snapshot: str


Step = (
    WriteFiles
    | WriteSecrets
    | LoadUnits
    | StartUnits
    | RefreshUnits
    | StopUnits
    | EndProcesses
    | BeginRelease
    | DropRelease
    | LayOutRelease
    | CheckCandidate
    | ActivateRelease
    | Tidy
    | EnsureDatabase
    | PrepareApplication
    | Freeze
    | Hold
    | Thaw
    | FindLosses
    | CheckData
    | Backup
    | LastDelta
    | MakeDelta
    | MakeRest
    | ReceiveBase
    | TakeInDelta
    | TakenIn
    | Restore
)
