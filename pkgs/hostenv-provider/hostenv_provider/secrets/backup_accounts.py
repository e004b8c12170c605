"""Each node's own account and restic key for the backups of every environment that it has a part in.

The service makes the repositories, whose files are its own, and nobody else adds or removes keys. It has a
key of its own in each, by which it adds the others.
"""

import hmac
import secrets
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import NamedTemporaryFile

from hostenv_core import names
from hostenv_core.errors import HostenvError
from hostenv_core.files import read_json, write_json
from hostenv_core.json_value import Value
from hostenv_core.locks import locked
from hostenv_core.processes import run

from hostenv_provider.config import Config
from hostenv_provider.secrets.environment_secrets import EnvironmentSecrets
from hostenv_provider.store.store import Store

_SECONDS = 120.0


@dataclass(frozen=True)
class Key:
    """A key of a restic repository: its file there, `keys/<id>`, and the password that opens it."""

    file: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Account:
    """A node's account at the backup server, and its key."""

    password: str = field(repr=False)
    key: Key


@dataclass(frozen=True)
class _Accounts:
    own: Key | None = None
    nodes: Mapping[str, Account] = field(default_factory=dict)


class BackupAccounts:
    """The files `backup-accounts/<user>.json`, and the keys of the repositories, which agree with them."""

    def __init__(self, config: Config, store: Store, environment_secrets: EnvironmentSecrets) -> None:
        self._config = config
        self._store = store
        self._secrets = environment_secrets
        self._folder = config.backup_accounts_dir

    def hand_out(self, node: str, user: str) -> dict[str, str] | None:
        """The node's secrets for the environment's backups, recorded as given to it; None if it may not.

        Raises HostenvError when its key cannot be made.
        """
        # What a former node left, such as locks, must not be in the way of a backup.
        for each, _ in self._store.former_accounts(user):
            self._end_if_former(each, user)
        nodes = self._store.hand_out(node, user)
        if nodes is None:
            return None
        account = self._prepare(user, nodes)[node]
        return {
            "backupUrl": f"rest:{self._config.public_url}/backups/{user}/",
            "backupUser": node,
            "backupPassword": account.password,
            "resticPassword": account.key.password,
        }

    def knows(self, user: str, node: str, password: str) -> bool:
        """Whether this is the node's password for the environment's backups. Raises HostenvError."""
        if not names.is_user_name(user):
            return False
        account = self._read(user).nodes.get(node)
        return account is not None and hmac.compare_digest(password.encode(), account.password.encode())

    def end_former(self) -> None:
        """End the accounts that nothing needs any more; one that cannot be ended does not stop the others.

        Raises HostenvError.
        """
        problems = []
        for node, user in self._store.former_accounts():
            try:
                self._end_if_former(node, user)
            except (HostenvError, OSError) as error:
                problems.append(str(error))
        if problems:
            raise HostenvError("; ".join(problems))

    def _end_if_former(self, node: str, user: str) -> None:
        with self._locked(user):
            # A job may have begun since it was looked for.
            if not self._store.part(node, user).keeps_account:
                self._end(node, user)

    def end(self, node: str, user: str) -> None:
        """End a node's account: its password, its key, and whatever lock was left until now.

        Raises HostenvError.
        """
        with self._locked(user):
            self._end(node, user)

    def convert(self, user: str) -> None:
        """End the account and key that earlier versions gave to all of the environment's nodes.

        Raises HostenvError.
        """
        self._prepare(user, ())

    def _end(self, node: str, user: str) -> None:
        found = self._read(user)
        if node not in found.nodes:
            self._store.forget_account(node, user)
            return
        left = {each: account for each, account in found.nodes.items() if each != node}
        self._write(user, replace(found, nodes=left))
        self._tidy(user, time.time())
        self._store.forget_account(node, user)

    def _prepare(self, user: str, nodes: Iterable[str]) -> Mapping[str, Account]:
        with self._locked(user):
            found = self._read(user)
            own = found.own
            if own is None:
                own = self._own_key(user)
                found = replace(found, own=own)
                self._write(user, found)
            for node in nodes:
                if node in found.nodes and not self._store.part(node, user).ending:
                    continue
                password = secrets.token_hex(32)
                key = self._add_key(user, own.password, secrets.token_hex(32), node)
                found = replace(found, nodes={**found.nodes, node: Account(password, key)})
                self._write(user, found)
                self._store.renew_account(node, user)
            shared = self._secrets.shared_account(user) is not None
            # When all nodes shared one account, nobody knows whose locks these are.
            self._tidy(user, time.time() if shared else None)
            self._secrets.forget_shared_account(user)
            return found.nodes

    def _own_key(self, user: str) -> Key:
        repository, password = self._repository(user), secrets.token_hex(32)
        shared = self._secrets.shared_account(user)
        if (repository / "config").exists():
            if shared is None:
                raise HostenvError(f"{self._path(user)} is missing: restore it, or move {repository} away")
            return self._add_key(user, shared["resticPassword"], password, names.PROVIDER_NODE)
        for key in _files(repository / "keys"):
            # An earlier attempt was interrupted: without its configuration this is no repository.
            key.unlink()
        self._restic(user, password, "init")
        (key,) = _files(repository / "keys")
        return Key(f"keys/{key.name}", password)

    def _add_key(self, user: str, opened_with: str, password: str, host: str) -> Key:
        folder = self._repository(user) / "keys"
        before = {path.name for path in _files(folder)}
        # A file, because everybody can see arguments.
        with NamedTemporaryFile("w", dir=self._folder, prefix=f".{user}.") as file:
            file.write(password)
            file.flush()
            self._restic(user, opened_with, "key", "add", "--new-password-file", file.name, "--host", host)
        (added,) = {path.name for path in _files(folder)} - before
        return Key(f"keys/{added}", password)

    def _restic(self, user: str, password: str, *arguments: str) -> None:
        command = [
            self._config.tool("restic"),
            "--no-cache",
            "--quiet",
            "--repo",
            str(self._repository(user)),
        ]
        run([*command, *arguments], timeout=_SECONDS, env={"RESTIC_PASSWORD": password})

    def _tidy(self, user: str, locks_until: float | None) -> None:
        """Remove keys that are nobody's, and locks from before `locks_until` (seconds since 1970)."""
        found, repository = self._read(user), self._repository(user)
        if found.own is None:
            return
        known = {found.own.file, *(account.key.file for account in found.nodes.values())}
        for path in _files(repository / "keys"):
            if f"keys/{path.name}" not in known:
                path.unlink(missing_ok=True)
        if locks_until is not None:
            for path in _files(repository / "locks"):
                if path.stat().st_mtime <= locks_until:
                    path.unlink(missing_ok=True)

    def _repository(self, user: str) -> Path:
        return self._config.backups_dir / user

    def _path(self, user: str) -> Path:
        return self._folder / f"{user}.json"

    def _locked(self, user: str) -> AbstractContextManager[None]:
        return locked(self._folder / f".{user}.lock")

    def _read(self, user: str) -> _Accounts:
        path = self._path(user)
        document = Value(read_json(path) or {}, path, most=None, remedy="restore it")
        own, nodes = document.optional("own"), document.member("nodes", {}).object()
        return _Accounts(
            own=None if own is None else _key(own),
            nodes={node: _account(each) for node, each in nodes.items()},
        )

    def _write(self, user: str, accounts: _Accounts) -> None:
        write_json(self._path(user), asdict(accounts))


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []


def _account(document: Value) -> Account:
    return Account(document.member("password").secret(), _key(document.member("key")))


def _key(document: Value) -> Key:
    return Key(document.member("file").secret(), document.member("password").secret())
