"""The long-running service: HTTP API, worker, verification and time-outs in one process."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from hostenv_core.errors import HostenvError

from hostenv_provider.config import Config
from hostenv_provider.disks.free_space import Disks
from hostenv_provider.disks.parts import Parts
from hostenv_provider.repository.node_repositories import NodeRepositories
from hostenv_provider.repository.projects import Projects
from hostenv_provider.repository.repository import Repository
from hostenv_provider.rules.retention import Retention
from hostenv_provider.secrets.backup_accounts import BackupAccounts
from hostenv_provider.secrets.environment_secrets import EnvironmentSecrets
from hostenv_provider.store.store import Store
from hostenv_provider.web.api import Api
from hostenv_provider.web.server import Server
from hostenv_provider.work import verify
from hostenv_provider.work.housekeeping import Housekeeper
from hostenv_provider.work.worker import ProjectSources, Worker

_log = logging.getLogger(__name__)
_IDLE = 10.0
_RETRY = 5.0
_EXPIRY = 10.0
_BREATH = 0.02
_SHUTDOWN = 5.0


class Service:
    """All threads of one provider; `projects_of` and `fetch` are replaced in tests."""

    def __init__(
        self,
        config: Config,
        projects_of: Callable[[Repository], ProjectSources] = Projects,
        fetch: verify.Fetch = verify.fetch,
    ) -> None:
        """Opens database and socket. Raises HostenvError."""
        repository = Repository(config)
        secrets = EnvironmentSecrets(config)
        self._config = config
        self._store = Store(config.database)
        self._store.recover()
        self._accounts = BackupAccounts(config, self._store, secrets)
        self._stop = threading.Event()
        nodes, disks = NodeRepositories(repository), Disks(config)
        self._worker = Worker(self._store, repository, nodes, projects_of(repository), secrets, disks)
        self._verifier = verify.Verifier(self._store, config.verify_timeout, self._stop, fetch)
        retention = Retention(config.job_retention, config.delivery_retention)
        self._housekeeper = Housekeeper(self._store, repository, retention, Parts(config.transfers_dir))
        api = Api(config, self._store, repository, nodes, disks, self._problem)
        self._server = Server(config.socket, api.answer)
        self._threads = [
            threading.Thread(target=self._loop, args=(step,), name=name, daemon=True)
            for name, step in (
                ("worker", self._worker.step),
                ("verifier", self._verify),
                ("expiry", self._expire),
                ("accounts", self._end_accounts),
                ("housekeeper", self._keep_house),
            )
        ]
        self._serving = threading.Thread(target=self._server.serve_forever, name="server", daemon=True)

    def start(self) -> None:
        """Begin to work and to answer."""
        for thread in (*self._threads, self._serving):
            thread.start()

    def stop(self) -> None:
        """End the answering at once and the work after its current step, if that ends soon."""
        self._stop.set()
        self._store.wake()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join(_SHUTDOWN)
        if not any(thread.is_alive() for thread in self._threads):
            self._store.close()

    def _loop(self, step: Callable[[], bool]) -> None:
        while not self._stop.is_set():
            seen = self._store.version()
            try:
                if step():
                    continue
            except Exception as error:
                _log.warning(
                    "%s: %s; trying again in %.0f s",
                    threading.current_thread().name,
                    error,
                    _RETRY,
                    exc_info=not isinstance(error, HostenvError),
                )
                self._stop.wait(_RETRY)
                continue
            self._store.wait(seen, _IDLE)

    def _verify(self) -> bool:
        self._verifier.start_due()
        return False

    def _end_accounts(self) -> bool:
        self._accounts.end_former()
        return False

    def _keep_house(self) -> bool:
        more = self._housekeeper.step()
        if more:
            # Whoever waits for the database or for the work tree gets it first.
            self._stop.wait(_BREATH)
        return more

    def _expire(self) -> bool:
        for job_id in self._store.expire(self._config.job_timeout):
            _log.warning("job %s: no progress for %s s", job_id, self._config.job_timeout)
        self._stop.wait(_EXPIRY)
        return True

    def _problem(self) -> str | None:
        stopped = [thread.name for thread in self._threads if not thread.is_alive()]
        return f"stopped: {', '.join(stopped)}" if stopped else None


def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT. Raises HostenvError if the service cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # The interpreter's own handler writes here. An Event would be missed by a thread that is about to wait.
    ended, signalled = socket.socketpair()
    signalled.setblocking(False)
    signal.set_wakeup_fd(signalled.fileno())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    service = Service(config)
    service.start()
    print(f"hostenv-provider: listening on {config.socket}", flush=True)
    _notify("READY=1")
    ended.recv(1)
    _notify("STOPPING=1")
    service.stop()


def _notify(state: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect("\0" + address[1:] if address.startswith("@") else str(Path(address)))
        notify.send(state.encode())
