"""`comin run`: joins polling, building, deploying and the control socket."""

from __future__ import annotations

import copy
import logging
import os
import threading
from pathlib import Path
from typing import Any

from .builder import Builder
from .config import Config, Json
from .control import Server
from .deployer import Deployer
from .errors import CominError
from .repository import Repository
from .store import Store

log = logging.getLogger("comin")


class Daemon:
    """Every part in a thread of its own, so that a slow hook stops no fetch and no build."""

    def __init__(self, config: Config) -> None:
        self._config = config
        try:
            machine_id = Path("/etc/machine-id").read_text().strip()
            config.state_dir.mkdir(parents=True, exist_ok=True)
            config.state_dir.chmod(0o755)
        except OSError as error:
            raise CominError(str(error)) from error
        self._store = Store(config.state_dir / "store.json", config.capacity)
        newest = self._store.newest()
        self._repository = Repository(
            config.state_dir / "repository",
            config.remotes,
            newest["generation"]["main_commit_id"] if newest is not None else "",
        )
        self._deployer = Deployer(self._store, config.hook)
        self._builder = Builder(config, self._repository.path, machine_id, self._deployer.submit)
        self._asked = threading.Condition()
        self._remotes_to_fetch: set[str] = set()
        self._is_fetching = False
        self._status = copy.deepcopy(self._repository.status)

    def run(self) -> None:
        """Serves the control socket until the process is ended."""
        threading.excepthook = self._end_of_a_thread
        with Server(self._config.socket, {"status": self.state, "fetch": self._fetch_all}) as server:
            threading.Thread(target=self._deployer.run, name="deployer", daemon=True).start()
            threading.Thread(target=self._fetch_for_ever, name="fetcher", daemon=True).start()
            for remote in self._config.remotes:
                if remote.period:
                    threading.Thread(
                        target=self._poll, args=(remote.name, remote.period), daemon=True
                    ).start()
            server.serve_forever()

    @staticmethod
    def _end_of_a_thread(failure: threading.ExceptHookArgs) -> None:
        # A daemon that goes on without one of its parts would look alive and do nothing.
        error: Any = failure.exc_value
        log.critical("a part of comin ended: %s", error, exc_info=error)
        os._exit(1)

    def state(self) -> Json:
        """What `comin status --json` prints."""
        return {
            "need_to_reboot": False,
            "is_suspended": False,
            "builder": self._builder.state(),
            "deployer": self._deployer.state(),
            "fetcher": {"is_fetching": self._is_fetching, "repository_status": self._status},
            "store": {"deployments": self._store.deployments},
        }

    def _poll(self, name: str, period: int) -> None:
        pause = threading.Event()
        while not pause.wait(period):
            self._fetch({name})

    def _fetch_all(self) -> Json:
        self._fetch({remote.name for remote in self._config.remotes})
        return {}

    def _fetch(self, names: set[str]) -> None:
        with self._asked:
            self._remotes_to_fetch |= names
            self._asked.notify()

    def _fetch_for_ever(self) -> None:
        while True:
            with self._asked:
                self._asked.wait_for(lambda: self._remotes_to_fetch)
                names, self._remotes_to_fetch = self._remotes_to_fetch, set()
                self._is_fetching = True
            before = self._repository.status["selected_commit_id"]
            self._repository.fetch(names)
            self._repository.select()
            self._status = copy.deepcopy(self._repository.status)
            self._is_fetching = False
            if self._status["selected_commit_id"] != before:
                self._builder.start(self._status)
