"""Secrets of environments and the backup accounts that are made from them (contract 8)."""

import base64
import hashlib
import json
import re
import secrets
import sys
from collections.abc import Iterable
from pathlib import Path

from hostenv_provider import names
from hostenv_provider.config import Config
from hostenv_provider.errors import HostenvError
from hostenv_provider.files import exclusive, read_texts, write_private

RESERVED = frozenset({"backupUrl", "backupUser", "backupPassword", "resticPassword", "hashSalt"})
MAX_VALUE = 64 * 1024

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_CONTROL = re.compile(r"[\0-\x1f\x7f]")


class EnvironmentSecrets:
    """The files `secrets/<user>.json`, and rest-server's accounts, which follow from them."""

    def __init__(self, config: Config) -> None:
        self._folder = config.secrets_dir
        self._htpasswd = config.htpasswd
        self._public_url = config.public_url
        self._lock_path = config.secrets_dir / ".lock"

    def ensure(self, users: Iterable[str]) -> None:
        """Make the generated secrets of these environments where they lack, and the accounts of all.

        Raises HostenvError if one of their files cannot be read or written; another environment's file that
        cannot be read leaves the account as it is and a line in the log.
        """
        with exclusive(self._lock_path):
            for user in users:
                self._ensure(user)
            self._write_accounts()

    def read(self, user: str) -> dict[str, str] | None:
        """All secrets of an environment; None if it has never been planned. Raises HostenvError."""
        if not names.is_user_name(user):
            return None
        return self._read(user) or None

    def set(self, user: str, key: str, value: str) -> None:
        """Set one of the project's own secrets.

        Raises HostenvError if the key is not a name, is generated, or the value is empty or too long.
        """
        if not _KEY.fullmatch(key):
            raise HostenvError(
                f"secret key {names.shown(key)}: use letters, digits and _, not beginning with a digit"
            )
        if key in RESERVED:
            raise HostenvError(f"secret key {key!r} is generated and cannot be set: choose another name")
        if not value or len(value.encode()) > MAX_VALUE or _CONTROL.search(value):
            raise HostenvError(
                f"secret {key}: give 1 to {MAX_VALUE} bytes of text on one line, without control characters"
            )
        with exclusive(self._lock_path):
            present = self._read(user)
            for other in present:
                # Nodes give applications each secret as a variable, whose name is in capitals.
                if other != key and other not in RESERVED and other.upper() == key.upper():
                    raise HostenvError(f"secret {key}: {user} has {other}, the same variable: set that one")
            self._ensure(user)
            self._write(user, {**self._read(user), key: value})
            self._write_accounts()

    def _ensure(self, user: str) -> None:
        present = self._read(user)
        # rest-server with private repositories serves an account just the folder of its own name.
        wanted = {
            "backupUrl": f"rest:{self._public_url}/backups/{user}/",
            "backupUser": user,
            "backupPassword": present.get("backupPassword") or secrets.token_hex(32),
            "resticPassword": present.get("resticPassword") or secrets.token_hex(32),
            "hashSalt": present.get("hashSalt") or secrets.token_hex(32),
        }
        if wanted.items() - present.items():
            self._write(user, {**present, **wanted})

    def _write_accounts(self) -> None:
        written = self._htpasswd.read_text(encoding="utf-8") if self._htpasswd.exists() else None
        before = {line.partition(":")[0]: line for line in (written or "").splitlines(keepends=True)}
        lines = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                account = self._read(path.stem)
            except HostenvError as error:
                print(error, file=sys.stderr, flush=True)
                lines.append(before.get(path.stem, ""))
                continue
            # A fast hash keeps 256 random bits, and rest-server computes it for every request.
            digest = base64.b64encode(hashlib.sha1(account["backupPassword"].encode()).digest()).decode()
            lines.append(f"{account['backupUser']}:{{SHA}}{digest}\n")
        text = "".join(lines)
        if text != written:
            write_private(self._htpasswd, text)

    def _read(self, user: str) -> dict[str, str]:
        path = self._path(user)
        document = read_texts(path)
        if path.exists() and not document.keys() >= RESERVED:
            # New ones would not open the backups that there are.
            missing = ", ".join(sorted(RESERVED - document.keys()))
            raise HostenvError(f"{path}: {missing} is missing: restore it")
        return document

    def _path(self, user: str) -> Path:
        if not names.is_user_name(user):
            raise HostenvError(f"environment {names.shown(user)}: not a user name of the plan")
        return self._folder / f"{user}.json"

    def _write(self, user: str, document: dict[str, str]) -> None:
        write_private(self._path(user), json.dumps(document, indent=2, sort_keys=True) + "\n")
