"""Who may do what with an environment's backups: nginx asks about every request (contract 4, /backups/)."""

import hmac
import re

from hostenv_core.names import is_node_name

from hostenv_provider.disks.backup_quota import BackupQuota
from hostenv_provider.secrets.backup_accounts import BackupAccounts
from hostenv_provider.secrets.environment_secrets import EnvironmentSecrets
from hostenv_provider.store.store import Store
from hostenv_provider.web.access import basic_credentials
from hostenv_provider.web.messages import HttpAnswer, HttpError, HttpRequest

# Only these exact forms, so that nobody reaches a repository by another spelling.
_REQUEST = re.compile(
    r"(?P<method>GET|HEAD|POST|DELETE) /backups/(?P<user>[a-z0-9-]+)/"
    r"(?:(?P<kind>data|index|snapshots|keys|locks)/(?P<name>[0-9a-f]{64})?|config)"
)
_LENGTH = re.compile(r"[0-9]{1,15}")


class BackupAccess:
    """An account allows what its node has to do with the environment at that moment."""

    def __init__(
        self, accounts: BackupAccounts, quota: BackupQuota, store: Store, secrets: EnvironmentSecrets
    ) -> None:
        self._accounts = accounts
        self._quota = quota
        self._store = store
        self._secrets = secrets

    def answer(self, request: HttpRequest) -> HttpAnswer:
        """204 yes, 401 who are you, 403 no."""
        method, uri = (request.headers.get(f"x-original-{what}", "") for what in ("method", "uri"))
        asked = _REQUEST.fullmatch(f"{method} {uri}")
        if asked is None:
            raise HttpError(403, "forbidden")
        name, password = basic_credentials(request.headers)
        if self._is_shared(asked["user"], name, password):
            # What earlier versions gave to all nodes is good until the environment's node has its own.
            reads = writes = True
        elif is_node_name(name) and self._accounts.knows(asked["user"], name, password):
            part = self._store.part(name, asked["user"])
            reads, writes = part.reads_backups, part.writes_backups
        else:
            raise HttpError(401, "give account and password", {"WWW-Authenticate": 'Basic realm="hostenv"'})
        if asked["method"] in ("GET", "HEAD") or (asked["kind"] == "locks" and asked["name"]):
            allowed = reads
        else:
            # Repositories only grow, and their keys and configuration are the provider's.
            grows = asked["kind"] in ("data", "index", "snapshots") and asked["name"] is not None
            allowed = writes and grows and asked["method"] == "POST"
        if allowed and asked["method"] == "POST":
            admit = self._quota.admit_lock if asked["kind"] == "locks" else self._quota.admit
            length = request.headers.get("x-original-length", "")
            # What does not say how long it is cannot be counted. Only after 403 does restic end at once.
            allowed = _LENGTH.fullmatch(length) is not None and admit(asked["user"], int(length)) is None
        if not allowed:
            raise HttpError(403, "forbidden")
        return HttpAnswer(204)

    def _is_shared(self, user: str, name: str, password: str) -> bool:
        if name != user:
            return False
        shared = self._secrets.shared_account(user)
        return shared is not None and hmac.compare_digest(
            password.encode(), shared["backupPassword"].encode()
        )
