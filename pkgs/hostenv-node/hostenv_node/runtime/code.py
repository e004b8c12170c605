"""An environment's source, from the provider's mirror into the user's release folder (contract 8)."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hostenv_node.api import git_environment, git_url
from hostenv_node.config import Config
from hostenv_node.operations import Deadline, OperationFailed
from hostenv_node.run import CommandFailed, CommandTimedOut, run
from hostenv_node.runtime.environment import Environment
from hostenv_node.runtime.layout import Layout
from hostenv_node.runtime.nar import nar_hash
from hostenv_node.runtime.user_call import pipe_to_user, user_apply

# The highest precedence of all attributes: the tree's bytes as they are, whatever the project's own say.
_RAW_BYTES = "* -text -eol -filter -ident -working-tree-encoding -export-subst -export-ignore\n"


AwaitProvider = Callable[[], None]
"""Returns once the provider answers; raises `api.Unreachable`."""


def unpack_source(
    config: Config,
    environment: Environment,
    layout: Layout,
    release: str,
    deadline: Deadline,
    await_provider: AwaitProvider,
) -> None:
    """Fetch the locked revision as root, check it, and let the user unpack it as the start of `release`.

    Raises OperationFailed when the mirror does not have the revision or its tree is not the one of the plan.
    """
    repository = fetch(config, environment, deadline, await_provider)
    check(config, environment, repository, deadline)
    user_apply(config, layout, deadline, [("begin", {"name": release})])
    pipe_to_user(
        config,
        layout,
        deadline,
        _archive(config, repository, environment.rev),
        [config.tool("tar"), "-x", "-f", "-", "-C", str(layout.unfinished_release(release) / "source")],
    )


def fetch(
    config: Config, environment: Environment, deadline: Deadline, await_provider: AwaitProvider
) -> Path:
    """Root's copy of the project's repository, with the revision in it.

    A provider that does not answer interrupts it (`api.Unreachable`), which is no failure.
    """
    repository = config.git_dir / f"{environment.mirror}.git"
    if repository.exists() and _has(config, repository, environment.rev, deadline):
        return repository
    try:
        _fetch(config, environment, repository, deadline)
    except CommandTimedOut:
        raise
    except CommandFailed:
        await_provider()
        # A crash may have left locks in the copy; it holds nothing that cannot be fetched again.
        shutil.rmtree(repository, ignore_errors=True)
        _fetch(config, environment, repository, deadline)
    if not _has(config, repository, environment.rev, deadline):
        raise OperationFailed(f"{environment.mirror}.git at the provider has no revision {environment.rev}")
    return repository


def check(config: Config, environment: Environment, repository: Path, deadline: Deadline) -> None:
    """Raises OperationFailed unless the revision's tree has the plan's `narHash`."""
    descriptor, name = tempfile.mkstemp(dir=config.git_dir, prefix=".tree-", suffix=".tar")
    os.close(descriptor)
    archive = Path(name)
    try:
        run(
            [*_archive(config, repository, environment.rev), f"--output={archive}"],
            timeout=deadline.remaining(),
        )
        found = nar_hash(archive)
    finally:
        archive.unlink()
    if found != environment.nar_hash:
        raise OperationFailed(
            f"{environment.mirror} at {environment.rev[:12]} has the hash {found}, the plan says"
            f" {environment.nar_hash}; the mirror is not what was locked"
        )


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
        [
            git,
            f"--git-dir={repository}",
            "fetch",
            "--quiet",
            "--no-tags",
            "--depth=1",
            "--no-write-fetch-head",
            git_url(config, environment.mirror),
            f"+{environment.rev}:refs/environments/{environment.user}",
        ],
        timeout=deadline.remaining(),
        env=git_environment(config),
    )


def _has(config: Config, repository: Path, rev: str, deadline: Deadline) -> bool:
    argv = [config.tool("git"), f"--git-dir={repository}", "cat-file", "-e", f"{rev}^{{tree}}"]
    return run(argv, timeout=deadline.remaining(60), check=False).returncode == 0


def _archive(config: Config, repository: Path, rev: str) -> list[str]:
    return [
        config.tool("git"),
        f"--git-dir={repository}",
        "-c",
        "tar.umask=0022",
        "archive",
        "--format=tar",
        rev,
    ]
