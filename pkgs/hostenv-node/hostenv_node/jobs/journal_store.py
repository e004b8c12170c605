"""The journals on disk: one durable file per job that is not closed."""

from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.files import read_json, remove_durably, write_json
from hostenv_core.json_value import Value
from hostenv_core.names import is_job

from hostenv_node.jobs.journal import JobJournal


class JournalStore:
    """The journals' folder. A journal that `save` returned from survives a crash of the machine."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self) -> list[JobJournal]:
        """All journals, in the order in which their jobs must be worked on.

        Raises HostenvError naming the file that cannot be read: a job that was begun must not be forgotten.
        """
        paths = self._directory.glob("[!.]*.json")
        journals = [journal for path in paths if (journal := _read(path)) is not None]
        return sorted(journals, key=lambda journal: journal.order)

    def get(self, job_id: str) -> JobJournal | None:
        """One journal, None when the job is not open here. Raises HostenvError as `load` does."""
        return _read(self._path(job_id))

    def changed_at(self, job_id: str) -> float:
        """When its journal was written last, in seconds since the epoch; 0 when it is not there."""
        try:
            return self._path(job_id).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def save(self, journal: JobJournal) -> None:
        """Write one journal durably."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(self._path(journal.job_id), journal.to_json())

    def close(self, journal: JobJournal) -> None:
        """Forget a job whose verdict was acted on."""
        remove_durably(self._path(journal.job_id))

    def _path(self, job_id: str) -> Path:
        if not is_job(job_id):
            raise HostenvError(f"a job id that cannot name a file: {job_id[:80]!r}")
        return self._directory / f"{job_id}.json"


def _read(path: Path) -> JobJournal | None:
    content = read_json(path)
    if content is None:
        return None
    value = Value(content, path, most=None, remedy="see what the job did, then remove it")
    journal = JobJournal.from_json(value)
    if journal.job_id != path.stem:
        raise value.error(f"it names job {journal.job_id[:80]!r}")
    return journal
