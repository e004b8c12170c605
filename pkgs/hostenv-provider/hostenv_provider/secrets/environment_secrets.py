"""Secrets of environments (contract 8), except those of their backups (`secrets.backup_accounts`)."""

import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from hostenv_core import names
from hostenv_core.errors import HostenvError
from hostenv_core.files import read_strings, write_json
from hostenv_core.lines import shown
from hostenv_core.locks import locked
from hostenv_core.secret_names import BACKUP_SECRETS, HASH_SALT, RESERVED, variable_name

from hostenv_provider.config import Config

_SHARED = frozenset(BACKUP_SECRETS)
MAX_VALUE = 64 * 1024

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_CONTROL = re.compile(r"[\0-\x1f\x7f]")


class EnvironmentSecrets:
    """The files `secrets/<user>.json`."""

    def __init__(self, config: Config) -> None:
        self._folder = config.secrets_dir
        self._lock_path = config.secrets_dir / ".lock"

    def ensure(self, users: Iterable[str]) -> None:
        """Make the generated secrets of these environments where they are missing.

        Raises HostenvError if one of their files cannot be read or written.
        """
        with locked(self._lock_path):
            for user in users:
                self._ensure(user)

    def read(self, user: str) -> dict[str, str] | None:
        """All secrets of an environment except its backups'; None if it has never been planned.

        Raises HostenvError.
        """
        if not names.is_user_name(user):
            return None
        found = {key: value for key, value in self._read(user).items() if key not in _SHARED}
        return found or None

    def shared_account(self, user: str) -> dict[str, str] | None:
        """What earlier versions gave to all nodes of an environment: account and key of its backups.

        None once each node has its own. Raises HostenvError.
        """
        if not names.is_user_name(user):
            return None
        document = self._read(user)
        found = {key: document[key] for key in _SHARED & document.keys()}
        if found and found.keys() != _SHARED:
            missing = ", ".join(sorted(_SHARED - found.keys()))
            raise HostenvError(f"{self._path(user)}: {missing} is missing: restore it")
        return found or None

    def shared_accounts(self) -> list[str]:
        """The environments whose nodes still share an account of the backups. Raises HostenvError."""
        users = sorted(path.stem for path in self._folder.glob("*.json"))
        return [user for user in users if self.shared_account(user) is not None]

    def forget_shared_account(self, user: str) -> None:
        """The environment's nodes share no account any more. Raises HostenvError."""
        with locked(self._lock_path):
            document = self._read(user)
            if _SHARED & document.keys():
                self._write(user, {key: each for key, each in document.items() if key not in _SHARED})

    def renew_salt(self, user: str) -> None:
        """A new hash salt: what was signed with the old one, such as one-time links, is no longer good.

        Raises HostenvError.
        """
        with locked(self._lock_path):
            document = self._read(user)
            if document:
                self._write(user, {**document, HASH_SALT: secrets.token_hex(32)})

    def set(self, user: str, key: str, value: str) -> None:
        """Set one of the project's own secrets.

        Raises HostenvError if the key is not a name, is generated, or the value is empty or too long.
        """
        if not _KEY.fullmatch(key):
            raise HostenvError(
                f"secret key {shown(key)}: use letters, digits and _, not beginning with a digit"
            )
        if key in RESERVED:
            raise HostenvError(f"secret key {key!r} is generated and cannot be set: choose another name")
        if not value or len(value.encode()) > MAX_VALUE or _CONTROL.search(value):
            raise HostenvError(
                f"secret {key}: give 1 to {MAX_VALUE} bytes of text on one line, without control characters"
            )
        with locked(self._lock_path):
            present = self._read(user)
            for other in present:
                same = variable_name(other) == variable_name(key)
                if same and other != key and other not in RESERVED:
                    raise HostenvError(f"secret {key}: {user} has {other}, the same variable: set that one")
            self._ensure(user)
            self._write(user, {**self._read(user), key: value})

    def _ensure(self, user: str) -> None:
        present = self._read(user)
        if not present:
            self._write(user, {HASH_SALT: secrets.token_hex(32)})

    def _read(self, user: str) -> dict[str, str]:
        path = self._path(user)
        document = read_strings(path)
        if path.exists() and HASH_SALT not in document:
            # A new one would end valid log-ins and links.
            raise HostenvError(f"{path}: {HASH_SALT} is missing: restore it")
        return document

    def _path(self, user: str) -> Path:
        if not names.is_user_name(user):
            raise HostenvError(f"environment {shown(user)}: not a user name of the plan")
        return self._folder / f"{user}.json"

    def _write(self, user: str, document: dict[str, str]) -> None:
        write_json(self._path(user), document)
