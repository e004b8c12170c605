"""What is to be deleted in homes and could not be: one durable file per environment."""

from dataclasses import dataclass
from pathlib import Path

from hostenv_core.files import read_json, remove_durably, write_json

_REST_SECONDS = 600.0


@dataclass(frozen=True)
class Leftovers:
    """The folder of these files."""

    directory: Path

    def reason(self, user: str) -> str | None:
        """Why something is left in the environment's home; None when nothing is."""
        noted = read_json(self.directory / f"{user}.json")
        return None if noted is None else str(noted.get("reason"))

    def rest(self, user: str, now: float) -> bool:
        """Whether the last attempt is too recent (`now` in seconds since the epoch) to try again."""
        noted = read_json(self.directory / f"{user}.json")
        tried = None if noted is None else noted.get("triedAt")
        return isinstance(tried, float) and now - _REST_SECONDS < tried <= now

    def note(self, user: str, reason: str | None, now: float) -> None:
        """What the last attempt left, None when nothing."""
        path = self.directory / f"{user}.json"
        if reason is not None:
            self.directory.mkdir(mode=0o700, exist_ok=True)
            write_json(path, {"reason": reason, "triedAt": now})
        elif path.exists():
            remove_durably(path)
