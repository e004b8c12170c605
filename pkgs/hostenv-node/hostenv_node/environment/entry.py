"""The part of an environment's entry (contract 6, `env`) that its runtime needs, checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from hostenv_core import names
from hostenv_core.checks import Check
from hostenv_core.errors import InvalidData
from hostenv_core.json_value import Value

from hostenv_node.environment.checks import parse_checks
from hostenv_node.errors import OperationFailed

Entry = Mapping[str, object]
"""One environment as `slice.json` and `plan.json` hold it (contract 6, `env`)."""


@dataclass(frozen=True)
class Environment:
    """One environment; every string in it is safe in a configuration file without quotes."""

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
    try:
        return _environment(Value(entry, "the plan's entry", most=None, remedy="plan the environment again"))
    except InvalidData as error:
        raise OperationFailed(str(error)) from error


def _environment(entry: Value) -> Environment:
    hostenv, application, repo = (entry.member(key) for key in ("hostenv", "application", "repo"))
    hostname = hostenv.member("hostname").named(names.is_host_name, "a host name")
    hosts = entry.member("virtualHosts").entries(names.is_host_name, "a host name")
    docroot = application.member("docroot", ".").named(names.is_docroot, "a folder below the project's root")
    return Environment(
        user=hostenv.member("userName").named(names.is_user_name, "an environment's user"),
        uid=entry.member("uid").integer(names.FIRST_UID, names.LAST_UID),
        organisation=hostenv.member("organisation").named(names.is_project, "an organisation"),
        codebase=hostenv.member("project").named(names.is_project, "a project"),
        application=application.member("name").choice(names.APPLICATIONS),
        docroot=str(PurePosixPath(docroot)),
        profile=application.member("profile", "minimal").named(names.is_profile, "an installation profile"),
        hostname=hostname,
        virtual_hosts=tuple(sorted({hostname, *hosts})),
        migrations=tuple(
            key.named(names.is_key, "a migration's key") for key in entry.member("migrations", []).items()
        ),
        authorized_keys=tuple(
            key.named(names.is_public_key, "an SSH public key")
            for key in entry.member("authorizedKeys", []).items()
        ),
        rev=repo.member("rev").named(names.is_revision, "a commit id"),
        nar_hash=repo.member("narHash").named(names.is_nar_hash, "the hash of a tree"),
        checks=parse_checks(entry.optional("deploymentVerification")),
    )
