"""`hostenv-node switch`: take over a generation that comin built (contract 3 and 8).

Everybody on this machine may read a generation, and all that Git and Nix bring. So it holds only the hash of
this node's slice, and the slice itself comes from the provider's API.

The switch records and makes accounts; it starts, stops and removes nothing, so that a node keeps what a move
still has to back up. comin runs it for every commit: it must be cheap, and doing the same again changes
nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.files import write_durably

from hostenv_node import locks
from hostenv_node.comin.generation import Generation, Slice, slice_hash
from hostenv_node.comin.users import ensure_users
from hostenv_node.config import Config

Fetch = Callable[[str], str]
"""Gets from the provider the text of the slice that has a hash (`jobs.api.Api.slice`)."""


def switch(config: Config, fetch: Fetch, toplevel: Path) -> Generation:
    """Record slice and commit of `toplevel` durably and create the users it names.

    A slice that is already recorded is not asked for.
    Raises HostenvError, with nothing changed, when the generation is another node's or malformed, when the
    provider does not give the slice, or when a user is refused (see `ensure_users`).
    """
    with locks.switch(config):
        return _switch(config, fetch, Generation.at(toplevel, config.node))


def reapply(config: Config, fetch: Fetch) -> Generation | None:
    """Complete a switch that failed or was interrupted; returns the generation that is then in force.

    comin sets its profile before it switches and repeats neither: the profile's link shows what should be in
    force. Raises HostenvError as `switch` does.
    """
    with locks.switch(config):
        recorded = Generation.recorded(config)
        toplevel = profile_target(config)
        if toplevel is None or (recorded is not None and recorded.toplevel == toplevel):
            return recorded
        return _switch(config, fetch, replace(Generation.at(toplevel, config.node), late=True))


def profile_target(config: Config) -> Path | None:
    """The store path that comin deployed last, whether or not its switch went through."""
    try:
        return config.comin_profile.resolve(strict=True)
    except OSError:
        return None


def _switch(config: Config, fetch: Fetch, generation: Generation) -> Generation:
    if Generation.recorded(config) == generation:
        return generation
    wanted = slice_hash(generation.toplevel)
    part = _recorded(config)
    if part is None or part.sha256 != wanted:
        part = Slice.parse(fetch(wanted), "the provider's answer", config.node)
        if part.sha256 != wanted:
            raise HostenvError(f"the provider's answer is not the slice {wanted} of {generation.toplevel}")
    ensure_users(config, part.users())
    write_durably(config.slice_file, part.text.encode())
    # Last, because it says that everything before it is done.
    generation.record(config)
    return generation


def _recorded(config: Config) -> Slice | None:
    try:
        return Slice.recorded(config)
    except HostenvError:
        # Whatever has damaged it, the provider has a copy.
        return None
