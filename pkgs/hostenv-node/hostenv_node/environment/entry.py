"""The part of an environment's entry (contract 6, `env`) that its runtime needs, checked."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from hostenv_core.names import is_uid, is_user_name

from hostenv_node.environment.checks import Check, parse_checks
from hostenv_node.errors import OperationFailed

Entry = Mapping[str, object]
"""One environment as `slice.json` and `plan.json` hold it (contract 6, `env`)."""

CODEBASE = re.compile(r"[a-z0-9]{1,48}")
"""What can name a project: a database, a unit and a repository."""
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_PROFILE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DOCROOT = re.compile(r"(?!/)(?!(.*/)?\.\.(/|\Z))[A-Za-z0-9._/-]+")
_REV = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_NAR_HASH = re.compile(r"sha256-[A-Za-z0-9+/]{43}=")

_AUTHORIZED_KEY = re.compile(r"[a-z][a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3}( [ -~]*)?")

APPLICATIONS = ("php", "drupal")


@dataclass(frozen=True)
class Environment:
    """One environment; every text in it is safe to stand in a configuration file unquoted."""

    user: str
    uid: int
    organisation: str
    codebase: str
    """The project's name: of its database and of its PHP-FPM's unit."""
    application: str
    docroot: str
    """Below the project's source; `.` is its top."""
    profile: str
    hostname: str
    virtual_hosts: tuple[str, ...]
    migrations: tuple[str, ...]
    authorized_keys: tuple[str, ...]
    """Lines of OpenSSH's `authorized_keys`: people who may log in as the environment's user."""
    rev: str
    nar_hash: str
    checks: tuple[Check, ...]
    """What the site must answer before visitors see a new release."""

    @property
    def mirror(self) -> str:
        """Name of the project's repository at the provider, without `.git` (contract 8, code)."""
        return f"{self.organisation}__{self.codebase}"


def parse_environment(entry: Entry) -> Environment:
    """Raises OperationFailed naming the field that is missing or not acceptable."""
    hostenv = _mapping(entry, "hostenv")
    application = _mapping(entry, "application")
    repo = _mapping(entry, "repo")
    hostname = _text(hostenv, "hostname", _HOST)
    hosts = _mapping(entry, "virtualHosts")
    uid, user = entry.get("uid"), hostenv.get("userName")
    if not is_uid(uid):
        raise OperationFailed(f"the plan's entry has no usable uid ({uid!r}); plan the environment again")
    if not is_user_name(user):
        raise OperationFailed(f"userName in the plan's entry is not acceptable: {user!r}; plan again")
    name = _text(application, "name", re.compile(r"[a-z]+"))
    if name not in APPLICATIONS:
        raise OperationFailed(f"unknown application {name!r}; this node serves {' and '.join(APPLICATIONS)}")
    return Environment(
        user=user,
        uid=uid,
        organisation=_text(hostenv, "organisation", CODEBASE),
        codebase=_text(hostenv, "project", CODEBASE),
        application=name,
        docroot=str(PurePosixPath(_text(application, "docroot", _DOCROOT, "."))),
        profile=_text(application, "profile", _PROFILE, "minimal"),
        hostname=hostname,
        virtual_hosts=tuple(sorted({hostname} | {_matched("virtualHosts", host, _HOST) for host in hosts})),
        migrations=parse_migrations(_list(entry, "migrations")),
        authorized_keys=tuple(
            _matched("authorizedKeys", key, _AUTHORIZED_KEY) for key in _list(entry, "authorizedKeys")
        ),
        rev=_text(repo, "rev", _REV),
        nar_hash=_text(repo, "narHash", _NAR_HASH),
        checks=parse_checks(entry.get("deploymentVerification"), hostname),
    )


def parse_migrations(keys: Sequence[object]) -> tuple[str, ...]:
    """Migration keys that are safe in names of files and units. Raises OperationFailed for another one."""
    return tuple(_matched("migrations", key, _KEY) for key in keys)


def _mapping(values: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = values.get(key)
    if not isinstance(value, Mapping):
        raise OperationFailed(f"the plan's entry has no object {key}; plan the environment again")
    return value


def _list(values: Mapping[str, object], key: str) -> list[object]:
    value = values.get(key) or []
    if not isinstance(value, list | tuple):
        raise OperationFailed(f"{key} in the plan's entry is not a list; plan the environment again")
    return list(value)


def _text(
    values: Mapping[str, object], key: str, pattern: re.Pattern[str], default: str | None = None
) -> str:
    value = values.get(key)
    return _matched(key, default if value is None else value, pattern)


def _matched(key: str, value: object, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise OperationFailed(
            f"{key} in the plan's entry is not acceptable: {value!r}; plan the environment again"
        )
    return value
