"""What keeps the provider from growing for ever: old jobs and deliveries go, and Git packs what it has."""

import logging
import time
from collections.abc import Callable, Iterator

from hostenv_core.errors import HostenvError
from hostenv_core.states import ENDED

from hostenv_provider.disks.parts import Parts
from hostenv_provider.repository.repository import NotBootstrapped, Repository
from hostenv_provider.rules.retention import Retention
from hostenv_provider.store.pruning import START, Place
from hostenv_provider.store.store import Store

_log = logging.getLogger(__name__)
_INTERVAL = 3600.0


class Housekeeper:
    """A round of small steps, at the start and then every hour; others have their turn between two steps."""

    def __init__(
        self,
        store: Store,
        repository: Repository,
        retention: Retention,
        parts: Parts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._repository = repository
        self._retention = retention
        self._parts = parts
        self._clock = clock
        self._due = clock()
        self._round: Iterator[None] | None = None

    def step(self) -> bool:
        """Do a little if it is time; False when nothing is left to do for now.

        An exception ends the round: the next hour's begins anew.
        """
        if self._round is None:
            if self._clock() < self._due:
                return False
            self._due = self._clock() + _INTERVAL
            self._round = self._steps()
        try:
            next(self._round)
        except BaseException as error:
            self._round = None
            if isinstance(error, StopIteration):
                return False
            raise
        return True

    def _is_under_way(self, job_id: str) -> bool:
        job = self._store.job(job_id)
        return job is not None and job.state not in ENDED

    def _steps(self) -> Iterator[None]:
        try:
            nodes = frozenset(self._repository.published_settings().addresses)
        except NotBootstrapped:
            return
        deliveries = jobs = 0
        while count := self._store.remove_deliveries(self._retention):
            deliveries += count
            yield
        place: Place | None = START
        while place is not None:
            batch = self._store.remove_jobs(self._retention, nodes, place)
            jobs, place = jobs + len(batch.removed), batch.place
            yield
        while self._store.shrink():
            yield
        self._parts.forget(self._is_under_way)
        yield
        if deliveries or jobs:
            _log.info("removed %s jobs that ended long ago, and %s old deliveries", jobs, deliveries)
        for folder in self._repository.folders():
            try:
                self._repository.collect(folder, self._store.releases(folder.stem))
            except HostenvError as error:
                # A damaged one keeps no other from its turn.
                _log.warning("%s: not collected: %s", folder, error)
            yield
