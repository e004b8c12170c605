"""`hostenv-node switch`: take over a generation that comin built (contract 3 and 8).

The switch records and makes accounts; it starts, stops and removes nothing, so that a node keeps what a move
still has to back up. comin runs it for every commit: it must be cheap, and the same again changes nothing.
"""

from pathlib import Path

from hostenv_node.config import Config
from hostenv_node.files import write_json
from hostenv_node.generation import Generation, Slice
from hostenv_node.lock import locked
from hostenv_node.users import ensure_users


def switch(config: Config, toplevel: Path) -> Generation:
    """Record slice and commit of `toplevel` durably and create the users it names.

    Raises HostenvError, with nothing changed, when the generation is another node's or malformed, or when a
    user is refused (see `ensure_users`).
    """
    with locked(config.switch_lock_file):
        return _switch(config, toplevel)


def reapply(config: Config) -> Generation | None:
    """Complete a switch that was cut short; returns the generation that then holds.

    comin sets its profile before it switches and repeats neither: the profile's link tells what should hold.
    Raises HostenvError as `switch` does.
    """
    with locked(config.switch_lock_file):
        recorded = Generation.recorded(config)
        toplevel = profile_target(config)
        if toplevel is None or (recorded is not None and recorded.toplevel == toplevel):
            return recorded
        return _switch(config, toplevel)


def profile_target(config: Config) -> Path | None:
    """The store path that comin deployed last, whether or not its switch went through."""
    try:
        return config.comin_profile.resolve(strict=True)
    except OSError:
        return None


def _switch(config: Config, toplevel: Path) -> Generation:
    generation = Generation.at(toplevel, config.node)
    part = Slice.read(toplevel / "slice.json", config.node)
    if Generation.recorded(config) == generation:
        return generation
    ensure_users(config, part.users())
    write_json(config.slice_file, part.content)
    # Last, for it says that all before it is done.
    generation.record(config)
    return generation
