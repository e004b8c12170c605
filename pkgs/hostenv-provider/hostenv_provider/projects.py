"""A project's flake and sources. The flake is a stranger's: it is only ever evaluated with limits (contract 3)."""

from collections.abc import Mapping

from hostenv_provider.plan import Environment, Source
from hostenv_provider.repository import Repository
from hostenv_provider.schema import EnvironmentDefinition


def keys(repository: Repository) -> list[str]:
    """The keys, `<organisation>__<project>`, of all projects of the work tree's lock file. Raises InvalidData."""
    raise NotImplementedError


def update_input(repository: Repository, key: str) -> None:
    """Lock the project's input at the head of its default branch (`nix flake update`).

    Raises HostenvError if there is no such project, CommandFailed if Nix cannot fetch it.
    """
    raise NotImplementedError


def evaluate(repository: Repository, key: str) -> dict[str, EnvironmentDefinition]:
    """The environments that the project's flake defines at its locked revision.

    Raises InvalidData if the flake cannot be evaluated within its limits or defines something else.
    """
    raise NotImplementedError


def resolve(repository: Repository, key: str, git_ref: str) -> Source:
    """The project's source at the head of branch `git_ref`. Raises InvalidData if there is no such branch."""
    raise NotImplementedError


def mirror(repository: Repository, key: str, environments: Mapping[str, Environment]) -> None:
    """Put the planned revision of each environment under `refs/heads/<userName>` of the mirror that nodes read.

    Raises CommandFailed if a revision cannot be had.
    """
    raise NotImplementedError
