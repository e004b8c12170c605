"""How the secrets of an environment are named (contract 8)."""

import re

HASH_SALT = "hashSalt"
BACKUP_SECRETS = ("backupUrl", "backupUser", "backupPassword", "resticPassword")
"""A node's account of the environment's backups."""
RESERVED = frozenset({HASH_SALT, *BACKUP_SECRETS})
"""What the provider generates; all others are the project's own."""


def variable_name(key: str) -> str:
    """The variable by which an application reads the project's own secret `key`; no two may share one."""
    return "HOSTENV_SECRET_" + re.sub(r"[^A-Za-z0-9]", "_", key).upper()
