"""The write freeze (contract 8): a root-owned file naming its job, looked at by nginx for every request."""

from pathlib import Path

from hostenv_core.files import remove_durably, write_durably


class Freezes:
    """The folder of freezes, one file per frozen environment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def holder(self, user: str) -> str | None:
        """The job that froze the environment; None when it is not frozen."""
        try:
            return (self.directory / user).read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return None

    def freeze(self, user: str, job: str) -> None:
        """In force when this returns, also over a reboot."""
        self.directory.mkdir(mode=0o711, exist_ok=True)
        write_durably(self.directory / user, f"{job}\n".encode())

    def thaw(self, user: str, job: str) -> bool:
        """Lift the freeze if it is that job's; whether it was."""
        if self.holder(user) != job:
            return False
        self.lift(user)
        return True

    def lift(self, user: str) -> None:
        """Lift the freeze of an environment that is no longer served, whoever holds it."""
        if self.directory.is_dir():
            remove_durably(self.directory / user)
