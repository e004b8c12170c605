"""A project's flake and sources: fetched, locked, evaluated and shown to nodes."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from hostenv_core import names
from hostenv_core.errors import InvalidData
from hostenv_core.json_value import Value
from hostenv_core.lines import shown
from hostenv_core.processes import Completed, run

from hostenv_provider.plan import generated, lock_file
from hostenv_provider.plan.definitions import EnvironmentDefinition, parse_environments
from hostenv_provider.plan.flake_template import check_url, inputs_expression
from hostenv_provider.plan.lock_file import LOCK, Input
from hostenv_provider.plan.node_tree import FLAKE
from hostenv_provider.plan.placement import moving
from hostenv_provider.plan.plan import Environment, Plan, Source
from hostenv_provider.repository import evaluation, remotes, source_tree
from hostenv_provider.repository.mirror import Head, Mirror
from hostenv_provider.repository.repository import MAX_OUTPUT, Repository, environment_of

_NIX_TIMEOUT = 60


class Projects:
    """The projects of one provider repository, whose work tree is read and, by locking, written."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def inputs(self) -> dict[str, Input]:
        """All projects of the lock file by key, `<organisation>__<project>`. Raises InvalidData."""
        return lock_file.parse(self._repository.read_json(LOCK))

    def update_input(self, key: str) -> None:
        """Lock the project at the head of the branch its flake is read from: the Git host's default branch.

        Raises InvalidData if there is no such project, FetchFailed if its Git host does not answer.
        """
        self.lock_input(self._find(key).name)

    def lock_input(self, name: str) -> None:
        """Lock the flake input `name`, which may be new in `flake.nix`. Raises InvalidData or FetchFailed."""
        declared = self._declared()
        if name not in declared:
            raise InvalidData(f"{FLAKE}: there is no input {name}: `hostenv-provider project add` adds it")
        asked = lock_file.original(declared[name])
        url, reference = check_url(f"git+{asked['url']}"), lock_file.reference_of(asked)
        key = "__".join(names.parse_input_name(name))
        mirror = Mirror(self._repository, key)
        head = Head(asked["rev"], None) if "rev" in asked else mirror.head(url, reference)
        mirror.obtain(url, reference, head.rev)
        locked = {
            "type": "git",
            "url": asked["url"],
            "rev": head.rev,
            "narHash": self._nar_hash(mirror, head.rev),
        }
        if head.branch is not None or reference != lock_file.HEAD:
            locked["ref"] = reference if head.branch is None else f"refs/heads/{head.branch}"
        document = lock_file.relocked(self._repository.read_json(LOCK), declared, name, asked, locked)
        self._repository.write_text(LOCK, generated.to_text(document))

    def evaluate(self, key: str) -> dict[str, EnvironmentDefinition]:
        """The environments that the project's flake defines at its locked revision.

        Raises InvalidData if the flake cannot be evaluated within its limits or defines something else, and
        FetchFailed.
        """
        project = self._find(key)
        where = f"{key}, flake.nix at {project.rev[:12]}"
        mirror = Mirror(self._repository, key)
        mirror.obtain(project.url, project.reference, project.rev)
        source_tree.check_size(mirror, project.rev, where)
        return parse_environments(evaluation.ask(self._repository.config, mirror, project.rev, where), where)

    def resolve(self, key: str, mirror: Mirror, git_ref: str) -> Source:
        """The project's source at the head of branch `git_ref`, fetched into its mirror.

        Raises InvalidData if there is no such branch or it has what a node would not get, FetchFailed.
        """
        url = self._find(key).url
        reference = f"refs/heads/{git_ref}"
        rev = mirror.head(url, reference).rev
        mirror.obtain(url, reference, rev)
        source_tree.check_source(mirror, rev, f"{key}, branch {git_ref} of {url}")
        return Source(url, git_ref, rev, self._nar_hash(mirror, rev))

    def sources(
        self,
        key: str,
        definitions: Mapping[str, EnvironmentDefinition],
        previous: Plan,
        moves: Callable[[str], bool],
    ) -> dict[str, Source]:
        """By environment, the new source of each one that moves to the head of its branch.

        `moves` says whether those of a branch do, see `placement.moving`. Raises what `resolve` raises.
        """
        recorded = {each.name: each.source for each in previous.of_project(key).values()}
        names_of_moving = moving(definitions, recorded, self._find(key).url, moves)
        mirror = Mirror(self._repository, key)
        heads = {
            git_ref: self.resolve(key, mirror, git_ref)
            for git_ref in sorted({definitions[name].git_ref for name in names_of_moving})
        }
        return {name: heads[definitions[name].git_ref] for name in names_of_moving}

    def mirror(self, key: str, environments: Mapping[str, Environment]) -> None:
        """Put the planned revision of each environment under `refs/heads/<userName>` of the nodes' mirror.

        Under the lock. Raises FetchFailed if a revision cannot be had.
        """
        target = Mirror(self._repository, key)
        for user, environment in sorted(environments.items()):
            source = environment.source
            target.obtain(source.url, f"refs/heads/{source.ref}", source.rev)
            target.show(user, source.rev)

    @contextmanager
    def trusting(self, url: str) -> Iterator[None]:
        """Let git and Nix read a local repository of another user, which the operator has just named.

        An exception undoes that.
        """
        folder = remotes.local_folder(url)
        # Nix compares the first, git-upload-pack the second.
        wanted = [] if folder is None else [str(folder), f"{folder}/.git"]
        known = self._global_git("--get-all", "safe.directory").text.splitlines()
        added = [each for each in wanted if each not in known]
        for each in added:
            self._global_git("--add", "safe.directory", each)
        try:
            yield
        except BaseException:
            for each in added:
                self._global_git("--fixed-value", "--unset", "safe.directory", each)
            raise

    def _declared(self) -> dict[str, Value]:
        """The projects that are named in `flake.nix`, the operators' file. Raises InvalidData."""
        applied = ("--apply", inputs_expression())
        answer = self._nix("eval", "--json", "--file", FLAKE, "inputs", *applied, check=False)
        if answer.returncode:
            raise InvalidData(f"{FLAKE}: {evaluation.nix_error(answer)}")
        return Value(json.loads(answer.text), FLAKE, "inputs", most=None).object()

    def _nar_hash(self, mirror: Mirror, rev: str) -> str:
        """The hash of a commit's files by which nodes check what they get (contract 8), in SRI form."""
        with source_tree.unpacked(mirror, rev, self._repository.config.tree_dir) as tree:
            return self._nix("hash", "path", "--type", "sha256", "--sri", str(tree)).text.strip()

    def _nix(self, *arguments: str, check: bool = True) -> Completed:
        # Without a registry, Nix does not ask the network about names that are no addresses.
        options = ("--extra-experimental-features", "nix-command flakes", "--option", "flake-registry", "")
        return run(
            [self._repository.config.tool("nix"), *options, *arguments],
            timeout=_NIX_TIMEOUT,
            cwd=self._repository.work_tree,
            env=environment_of(self._repository.config),
            most=MAX_OUTPUT,
            check=check,
        )

    def _find(self, key: str) -> Input:
        known = self.inputs()
        if key not in known:
            raise InvalidData(
                f"{LOCK}: no project {shown(key)}; there are: {', '.join(known) or 'none'};"
                " `hostenv-provider project add` adds one"
            )
        return known[key]

    def _global_git(self, *arguments: str) -> Completed:
        return self._repository.git(
            "config", "--global", *arguments, cwd=self._repository.config.data_dir, check=False
        )
