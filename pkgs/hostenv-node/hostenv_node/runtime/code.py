"""An environment's source, from the provider's mirror into the user's release folder (contract 8)."""

import shutil
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.processes import CommandFailed, CommandTimedOut, reading, run
from hostenv_core.source_limits import MAX_BYTES

from hostenv_node import locks
from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment import steps
from hostenv_node.environment.entry import Environment
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.jobs.api import git_environment, git_url
from hostenv_node.runtime.as_user import pipe_to_user, user_apply
from hostenv_node.runtime.nar import nar_hash
from hostenv_node.runtime.source_tree import Entry, entries

# This has the highest precedence of all attributes: the tree's bytes stay as they are, whatever the
# project's own attributes say.
_RAW_BYTES = "* -text -eol -filter -ident -working-tree-encoding -export-subst -export-ignore\n"
# So that of a large file no more than this is in the memory of root's unit.
_STREAMED_BYTES = 1 << 20
# A copy with more files of its own, or larger than a source may be, is fetched anew.
_MAX_COPY_FILES = 10_000
_TIDY_SECONDS = 60.0
# The last is what tar says of a file that fits in part.
_NO_ROOM = ("No space left on device", "Disk quota exceeded", "Wrote only")

AwaitProvider = Callable[[], None]
"""Returns once the provider answers; raises `jobs.api.Unreachable`."""


def unpack_source(
    config: Config,
    environment: Environment,
    layout: Layout,
    release: str,
    deadline: Deadline,
    await_provider: AwaitProvider,
) -> None:
    """Fetch the locked revision as root, check it, and let the user unpack it as the start of `release`.

    Raises OperationFailed when the mirror does not have the revision, or its tree is too large or not the one
    of the plan; CommandFailed when it cannot be unpacked, and nothing of it is left then.
    """
    with locks.copy(config, environment.mirror):
        _unpack_source(config, environment, layout, release, deadline, await_provider)


def _unpack_source(
    config: Config,
    environment: Environment,
    layout: Layout,
    release: str,
    deadline: Deadline,
    await_provider: AwaitProvider,
) -> None:
    repository = fetch(config, environment, deadline, await_provider)
    files = check(config, environment, repository, deadline)
    user_apply(config, layout, deadline, [steps.BeginRelease(release)])
    source = layout.unfinished_release(release) / "source"
    try:
        pipe_to_user(
            config,
            layout,
            deadline,
            _git(config, repository, "-c", "tar.umask=0022", "archive", "--format=tar", environment.rev),
            [config.tool("tar"), "-x", "-f", "-", "-C", str(source)],
        )
    except CommandFailed as error:
        with suppress(HostenvError):
            user_apply(config, layout, Deadline.after(_TIDY_SECONDS), [steps.DropRelease(release)])
        _demand_room(error, source, files)
        raise


def fetch(
    config: Config, environment: Environment, deadline: Deadline, await_provider: AwaitProvider
) -> Path:
    """Root's copy of the project's repository, with the revision in it.

    A provider that does not answer interrupts it (`jobs.api.Unreachable`), which is no failure.
    """
    repository = config.git_dir / f"{environment.mirror}.git"
    if repository.exists():
        if _has(config, repository, environment.rev, deadline):
            return repository
        if _has_outgrown(repository):
            shutil.rmtree(repository, ignore_errors=True)
    try:
        _fetch(config, environment, repository, deadline)
    except CommandTimedOut:
        # It may hold locks and incomplete files now, and nothing that cannot be fetched again.
        shutil.rmtree(repository, ignore_errors=True)
        raise
    except CommandFailed:
        await_provider()
        shutil.rmtree(repository, ignore_errors=True)
        _fetch_anew(config, environment, repository, deadline)
    if not _has(config, repository, environment.rev, deadline):
        raise OperationFailed(f"{environment.mirror}.git at the provider has no revision {environment.rev}")
    return repository


def check(config: Config, environment: Environment, repository: Path, deadline: Deadline) -> Sequence[Entry]:
    """The revision's files. Raises OperationFailed unless they are within the limits and the plan's."""
    where = f"{environment.mirror} at {environment.rev[:12]}"
    ls_tree = _git(config, repository, "ls-tree", "-r", "-l", "-z", "--full-tree", environment.rev)
    with reading(ls_tree, timeout=deadline.remaining()) as listing:
        files = entries(listing, where)
    wanted = "".join(f"{entry.object_id}\n" for entry in files).encode()
    cat_file = _git(config, repository, "cat-file", "--batch", "--buffer")
    with reading(cat_file, timeout=deadline.remaining(), stdin=wanted) as objects:
        found = nar_hash(files, objects)
    if found != environment.nar_hash:
        raise OperationFailed(
            f"{where} has the hash {found}, the plan says {environment.nar_hash}; the mirror is not what was"
            " locked"
        )
    return files


def forget_copies(config: Config, needed: Callable[[], Collection[str]]) -> None:
    """Remove root's copies of all projects except those `needed` (`Environment.mirror`), and what is beside.

    What cannot be removed stays, for the next time, and so does what a job is about to use.
    """

    def kept() -> set[str]:
        return {f"{mirror}.git" for mirror in needed()}

    before = kept()
    found = list(config.git_dir.iterdir()) if config.git_dir.exists() else []
    for entry in [entry for entry in found if entry.name not in before]:
        mirror = entry.name.removeprefix(".").removesuffix(".new").removesuffix(".git")
        with locks.copy_if_free(config, mirror) as free:
            # A job that began meanwhile has recorded what it needs before it asked for the lock.
            if not free or entry.name in kept():
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def _fetch(config: Config, environment: Environment, repository: Path, deadline: Deadline) -> None:
    git = config.tool("git")
    if not repository.exists():
        config.git_dir.mkdir(mode=0o700, exist_ok=True)
        unfinished = repository.with_name(f".{repository.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        run([git, "init", "--quiet", "--bare", str(unfinished)], timeout=deadline.remaining(60))
        (unfinished / "info").mkdir(exist_ok=True)
        (unfinished / "info/attributes").write_text(_RAW_BYTES)
        unfinished.rename(repository)
    run(
        _git(
            config,
            repository,
            "fetch",
            "--quiet",
            "--no-tags",
            "--depth=1",
            "--no-write-fetch-head",
            git_url(config, environment.mirror),
            f"+{environment.rev}:refs/environments/{environment.user}",
        ),
        timeout=deadline.remaining(),
        env=git_environment(config),
    )


def _fetch_anew(config: Config, environment: Environment, repository: Path, deadline: Deadline) -> None:
    try:
        _fetch(config, environment, repository, deadline)
    except CommandFailed as error:
        shutil.rmtree(repository, ignore_errors=True)
        _demand_room(error, repository)
        raise


def _has(config: Config, repository: Path, rev: str, deadline: Deadline) -> bool:
    argv = _git(config, repository, "cat-file", "-e", f"{rev}^{{tree}}")
    return run(argv, timeout=deadline.remaining(60), check=False).returncode == 0


def _has_outgrown(repository: Path) -> bool:
    """Whether revisions that nobody needs any more have made the copy too large."""
    sizes = [path.lstat().st_size for path in repository.rglob("*")]
    return sum(sizes) > MAX_BYTES or len(sizes) > _MAX_COPY_FILES


def _demand_room(error: CommandFailed, place: Path, files: Sequence[Entry] = ()) -> None:
    """Raises OperationFailed, saying what to do, if a full disk is behind the error."""
    if any(words in str(error) for words in _NO_ROOM):
        size = sum(entry.size for entry in files) >> 20
        what = f"the source ({size} MiB in {len(files)} files)" if files else "the source"
        raise OperationFailed(f"there is no room for {what} at {place}; make room there, then deploy again")


def _git(config: Config, repository: Path, *arguments: str) -> list[str]:
    settings = {
        "core.bigFileThreshold": _STREAMED_BYTES,
        # Nothing of it continues beside the next action.
        "maintenance.auto": "false",
    }
    options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
    return [config.tool("git"), f"--git-dir={repository}", *options, *arguments]
