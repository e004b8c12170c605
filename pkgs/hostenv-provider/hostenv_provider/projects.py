"""A project's flake and sources. The flake is a stranger's: it is evaluated with limits (contract 3)."""

import json
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from hostenv_provider import names
from hostenv_provider.errors import HostenvError, InvalidData
from hostenv_provider.flake_template import check_url, project_expression
from hostenv_provider.plan import Environment, Plan, Source, moving
from hostenv_provider.repository import LOCK, Repository, environment_of, remove_locks
from hostenv_provider.run import CommandFailed, CommandTimedOut, Completed, Limits, OutputTooLong, run
from hostenv_provider.schema import EnvironmentDefinition, Value, parse_environments
from hostenv_provider.texts import one_line

_FETCH_TIMEOUT = 600
_EVALUATION_TIMEOUT = 60
_EVALUATION_LIMITS = Limits(memory=2 << 30, processor_time=20, output=1 << 20)
_MAX_MESSAGE = 500

_NIX_ERROR = re.compile(r"^\s*error: (?P<message>\S.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Input:
    """A project as `flake.lock` has it; `url` is the flake reference without query."""

    name: str
    url: str
    rev: str


def inputs(repository: Repository) -> dict[str, Input]:
    """All projects of the work tree's lock file by key, `<organisation>__<project>`. Raises InvalidData."""
    lock = Value(repository.read_json(LOCK), LOCK, "$").object()
    nodes = lock["nodes"].object() if "nodes" in lock else {}
    root = nodes["root"].object() if "root" in nodes else {}
    result: dict[str, Input] = {}
    for name, node in (root["inputs"].object() if "inputs" in root else {}).items():
        if "__" not in name:
            continue
        key = "__".join(names.parse_input_name(name))
        if key in result:
            raise node.error(f"is the same project as {result[key].name}: remove one")
        result[key] = _input(name, nodes.get(node.text(), node))
    return result


def update_input(repository: Repository, key: str) -> None:
    """Lock the project's input at the head of its default branch (`nix flake update`).

    Raises InvalidData if there is no such project, CommandFailed if Nix cannot fetch it.
    """
    lock_input(repository, _find(repository, key).name)


def lock_input(repository: Repository, name: str) -> None:
    """Lock the flake input `name`, which may be new in `flake.nix`. Raises CommandFailed or InvalidData."""
    answer = _nix(repository, "flake", "update", name)
    if answer.returncode:
        raise CommandFailed(f"{name}: Nix cannot fetch the project: {_nix_error(answer)}")
    inputs(repository)


def evaluate(repository: Repository, key: str) -> dict[str, EnvironmentDefinition]:
    """The environments that the project's flake defines at its locked revision.

    Raises InvalidData if the flake cannot be evaluated within its limits or defines something else.
    """
    project = _find(repository, key)
    where = f"{key}, flake.nix at {project.rev[:12]}"
    tree = _prefetch(repository, f"{project.url}?rev={project.rev}", where)
    source = json.dumps({"type": "path", "path": tree.path, "narHash": tree.nar_hash})
    arguments = f"{{ source = builtins.fromJSON {_nix_string(source)}; system = {_nix_string(_system())}; }}"
    # Of the store only trees whose hash is known can be read, and nothing of the network.
    options = {
        "pure-eval": "true",
        "restrict-eval": "true",
        "allowed-uris": "path:/nix/store/",
        "allow-import-from-derivation": "false",
    }
    try:
        answer = _nix(
            repository,
            *("eval", "--json", "--read-only", "--expr", f"({project_expression()}) {arguments}"),
            options=options,
            timeout=_EVALUATION_TIMEOUT,
            limits=_EVALUATION_LIMITS,
        )
    except OutputTooLong:
        raise InvalidData(
            f"{where}: its evaluation writes more than {_EVALUATION_LIMITS.output >> 20} MiB"
        ) from None
    except CommandTimedOut:
        raise InvalidData(f"{where}: its evaluation takes longer than {_EVALUATION_TIMEOUT} s") from None
    if answer.returncode:
        raise InvalidData(f"{where}: {_evaluation_error(answer)}")
    try:
        document = json.loads(answer.stdout)
    except (ValueError, RecursionError) as error:
        raise InvalidData(f"{where}: Nix answers no JSON ({error})") from error
    return parse_environments(document, where)


def resolve(repository: Repository, key: str, git_ref: str, timeout: float = _FETCH_TIMEOUT) -> Source:
    """The project's source at the head of branch `git_ref`, fetched in `timeout` seconds.

    Raises InvalidData if there is no such branch, CommandTimedOut.
    """
    url = _find(repository, key).url
    where = f"{key}, branch {git_ref} of {url}"
    tree = _prefetch(repository, f"{url}?ref=refs/heads/{quote(git_ref)}", where, timeout)
    return Source(url, git_ref, tree.rev, tree.nar_hash)


def sources(
    repository: Repository,
    key: str,
    definitions: Mapping[str, EnvironmentDefinition],
    previous: Plan,
    moves: Callable[[str], bool],
) -> dict[str, Source]:
    """The new source, by the environment's name, of every environment that moves to the head of its branch.

    `moves` says so of a branch; see `plan.moving`. Raises InvalidData if a branch cannot be read,
    CommandTimedOut if all of them together take too long.
    """
    recorded = {each.name: each.source for each in previous.of_project(key).values()}
    names_of_moving = moving(definitions, recorded, _find(repository, key).url, moves)
    left = _countdown()
    heads = {
        git_ref: resolve(repository, key, git_ref, left())
        for git_ref in sorted({definitions[name].git_ref for name in names_of_moving})
    }
    return {name: heads[definitions[name].git_ref] for name in names_of_moving}


def mirror(repository: Repository, key: str, environments: Mapping[str, Environment]) -> None:
    """Put the planned revision of each environment under `refs/heads/<userName>` of the nodes' mirror.

    Under the lock. Raises CommandFailed if a revision cannot be had.
    """
    path = repository.config.git_dir / f"{key}.git"
    if not path.is_dir():
        # Whole or absent: without its settings it would show what it must hide.
        unfinished = path.with_name(f"{path.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        repository.create_bare(unfinished)
        unfinished.rename(path)
    remove_locks(path, 0)
    left = _countdown()
    for user, environment in sorted(environments.items()):
        source = environment.source
        if not _has_commit(repository, path, source.rev):
            _fetch(repository, path, source, left)
        repository.git("update-ref", f"refs/heads/{user}", source.rev, cwd=path)


@contextmanager
def trusting(repository: Repository, url: str) -> Iterator[None]:
    """Let git and Nix read a local repository of another user, which the operator has just named.

    An exception takes that back.
    """
    scheme, _, path = url.partition("://")
    # Nix compares the first, git-upload-pack the second.
    wanted = [path, f"{path}/.git"] if scheme == "git+file" else []
    known = _global_git(repository, "--get-all", "safe.directory").stdout.splitlines()
    added = [folder for folder in wanted if folder not in known]
    for folder in added:
        _global_git(repository, "--add", "safe.directory", folder)
    try:
        yield
    except BaseException:
        for folder in added:
            _global_git(repository, "--fixed-value", "--unset", "safe.directory", folder)
        raise


def _global_git(repository: Repository, *arguments: str) -> Completed:
    return repository.git("config", "--global", *arguments, cwd=repository.config.data_dir, check=False)


@dataclass(frozen=True)
class _Tree:
    path: str
    rev: str
    nar_hash: str


def _countdown() -> Callable[[], float]:
    """The seconds that are left of a job's time for all fetches of one kind, never less than one."""
    deadline = time.monotonic() + _FETCH_TIMEOUT
    return lambda: max(1.0, deadline - time.monotonic())


def _prefetch(repository: Repository, reference: str, where: str, timeout: float = _FETCH_TIMEOUT) -> _Tree:
    answer = _nix(repository, "flake", "prefetch", "--json", "--refresh", reference, timeout=timeout)
    if answer.returncode:
        raise InvalidData(f"{where}: cannot be fetched: {_nix_error(answer)}")
    members = Value(json.loads(answer.stdout), "nix flake prefetch", "$").object()
    if "locked" not in members:
        raise HostenvError("this Nix is too old to say what it fetched: hostenv-provider needs 2.20 or newer")
    locked = members["locked"].object()
    return _Tree(members["storePath"].text(), locked["rev"].text(), members["hash"].text())


def _nix(
    repository: Repository,
    *arguments: str,
    options: Mapping[str, str] | None = None,
    timeout: float = _FETCH_TIMEOUT,
    limits: Limits | None = None,
) -> Completed:
    # Without a registry Nix does not go to the network for names that are none.
    settings = {"flake-registry": "", "accept-flake-config": "false", **(options or {})}
    command = [repository.config.tool("nix"), "--extra-experimental-features", "nix-command flakes"]
    for name, value in settings.items():
        command += ["--option", name, value]
    return run(
        [*command, *arguments],
        timeout=timeout,
        cwd=repository.work_tree,
        env=environment_of(repository.config),
        limits=limits,
        check=False,
    )


def _nix_error(answer: Completed) -> str:
    messages = _NIX_ERROR.findall(answer.stderr)
    text = messages[-1] if messages else answer.stderr[-_MAX_MESSAGE:].strip() or "no message"
    return one_line(text, _MAX_MESSAGE)


def _evaluation_error(answer: Completed) -> str:
    message = _nix_error(answer)
    if answer.returncode < 0 or answer.returncode > 128:
        return f"its evaluation was stopped after {_EVALUATION_LIMITS.processor_time} s of processor time"
    if "out of memory" in message:
        return f"its evaluation needs more than {_EVALUATION_LIMITS.memory >> 20} MiB of memory"
    if message.endswith(".drv' is not valid"):
        return (
            "it builds something in order to be evaluated (import from derivation), which a project may not"
        )
    return f"cannot be evaluated: {message}"


def _find(repository: Repository, key: str) -> Input:
    known = inputs(repository)
    if key not in known:
        raise InvalidData(
            f"{LOCK}: no project {names.shown(key)}; there are: {', '.join(known) or 'none'};"
            " `hostenv-provider project add` adds one"
        )
    return known[key]


def _input(name: str, node: Value) -> Input:
    members = node.object()
    original = members["original"].object() if "original" in members else {}
    locked = members["locked"].object() if "locked" in members else {}
    if "type" not in original or original["type"].raw != "git" or "url" not in original:
        raise node.error(f"{name} is not fetched from a Git repository: give it a git+ address in flake.nix")
    if "flake" not in members or members["flake"].raw is not False:
        raise node.error(
            f"{name} is an input with inputs of its own: add `flake = false;` to it in flake.nix"
        )
    if "rev" not in locked:
        raise node.error(
            f"{name} is not locked at a commit: commit what has changed in the project's repository"
        )
    return Input(name, check_url(f"git+{original['url'].text()}"), locked["rev"].text())


def _has_commit(repository: Repository, mirror_path: Path, rev: str) -> bool:
    return repository.git("cat-file", "-e", f"{rev}^{{commit}}", cwd=mirror_path, check=False).returncode == 0


def _fetch(repository: Repository, mirror_path: Path, source: Source, left: Callable[[], float]) -> None:
    # Git cleans up before it ends: what works on behind it would hold locks that look abandoned.
    fetch = (
        "-c",
        "gc.autoDetach=false",
        "-c",
        "maintenance.autoDetach=false",
        "fetch",
        "--quiet",
        "--no-tags",
    )
    remote = source.url.removeprefix("git+")
    branch = f"refs/heads/{source.ref}"
    repository.git(*fetch, remote, f"+{branch}:refs/hostenv/{branch}", cwd=mirror_path, timeout=left())
    if not _has_commit(repository, mirror_path, source.rev):
        # The branch was rewritten since; most servers still hand out the commit by its name.
        repository.git(*fetch, remote, source.rev, cwd=mirror_path, timeout=left())


def _system() -> str:
    return f"{platform.machine()}-linux"


def _nix_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${") + '"'
