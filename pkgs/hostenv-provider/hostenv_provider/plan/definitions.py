"""The environments that a project's flake defines (contract 3), checked before anything is made of them.

An unknown key is an error, so that a typing error is noticed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hostenv_core import names
from hostenv_core.checks import Check, constraint, is_path
from hostenv_core.json_value import Value
from hostenv_core.lines import shown

ENVIRONMENT_TYPES = ("development", "production", "testing")


@dataclass(frozen=True)
class Application:
    """What code an environment runs; `docroot` is relative to the root of the project's source."""

    name: str
    docroot: str
    profile: str | None = None


@dataclass(frozen=True)
class VirtualHost:
    """How the front door serves one host name."""

    enable_acme: bool = False
    force_ssl: bool = False


@dataclass(frozen=True)
class User:
    """A person with access to the environment."""

    email: str | None
    public_keys: tuple[str, ...]


@dataclass(frozen=True)
class EnvironmentDefinition:
    """One environment as its project defines it."""

    name: str
    type: str
    enable: bool
    git_ref: str
    application: Application
    virtual_hosts: Mapping[str, VirtualHost]
    users: Mapping[str, User]
    migrations: tuple[str, ...]
    checks: tuple[Check, ...]


def parse_environments(document: object, source: str) -> dict[str, EnvironmentDefinition]:
    """The environments of a project, by name.

    Raises InvalidData, which names `source` and the JSON path.
    """
    environments = Value(document, source, "environments").entries(
        names.is_environment_name, "an environment's name"
    )
    return {name: _environment(name, value) for name, value in environments.items()}


def application(value: Value) -> Application:
    """Raises InvalidData."""
    members = value.members(["name"], ["docroot", "profile"])
    return Application(
        name=members["name"].choice(names.APPLICATIONS),
        docroot=members["docroot"].named(names.is_docroot, "a folder below the project's root")
        if "docroot" in members
        else ".",
        profile=members["profile"].named(names.is_key, "an installation profile")
        if "profile" in members
        else None,
    )


def virtual_hosts(value: Value) -> dict[str, VirtualHost]:
    """Raises InvalidData."""
    return {
        name: _virtual_host(entry)
        for name, entry in value.entries(names.is_host_name, "a host name (RFC 1123, lower case)").items()
    }


def users(value: Value) -> dict[str, User]:
    """Raises InvalidData."""
    return {name: _user(entry) for name, entry in value.entries(names.is_key, "a user's name").items()}


def migrations(value: Value) -> tuple[str, ...]:
    """Raises InvalidData."""
    keys = tuple(item.named(names.is_key, "a migration's key") for item in value.items())
    if len(set(keys)) != len(keys):
        raise value.error("names a migration twice")
    return keys


def checks(value: Value) -> tuple[Check, ...]:
    """The checks of a `deploymentVerification`. Raises InvalidData."""
    members = value.members([], ["checks"])
    return tuple(_check(item) for item in members["checks"].items()) if "checks" in members else ()


def _environment(name: str, value: Value) -> EnvironmentDefinition:
    members = value.members(
        ["type", "application"],
        ["enable", "gitRef", "virtualHosts", "users", "migrations", "deploymentVerification"],
    )
    return EnvironmentDefinition(
        name=name,
        type=members["type"].choice(ENVIRONMENT_TYPES),
        enable=members["enable"].boolean() if "enable" in members else True,
        git_ref=_git_reference(members.get("gitRef"), name, value),
        application=_defined_application(members["application"]),
        virtual_hosts=virtual_hosts(members["virtualHosts"]) if "virtualHosts" in members else {},
        users=users(members["users"]) if "users" in members else {},
        migrations=migrations(members["migrations"]) if "migrations" in members else (),
        checks=checks(members["deploymentVerification"]) if "deploymentVerification" in members else (),
    )


def _defined_application(value: Value) -> Application:
    # The rule of nodes. A plan may still hold what was defined before there was one.
    found = application(value)
    if found.profile is not None and not names.is_profile(found.profile):
        raise value.error(
            f"profile {shown(found.profile)}: use small letters, digits and _, beginning with a letter"
        )
    return found


def _git_reference(value: Value | None, name: str, environment: Value) -> str:
    if value is not None:
        return value.named(names.is_git_reference, "a branch name")
    if not names.is_git_reference(name):
        raise environment.error("gitRef is missing, and the environment's name is not a branch name")
    return name


def _virtual_host(value: Value) -> VirtualHost:
    members = value.members([], ["enableACME", "forceSSL"])
    return VirtualHost(
        enable_acme=members["enableACME"].boolean() if "enableACME" in members else False,
        force_ssl=members["forceSSL"].boolean() if "forceSSL" in members else False,
    )


def _user(value: Value) -> User:
    members = value.members([], ["email", "publicKeys"])
    keys = members["publicKeys"].items() if "publicKeys" in members else ()
    return User(
        email=members["email"].string() if "email" in members else None,
        public_keys=tuple(key.named(names.is_public_key, "an SSH public key") for key in keys),
    )


def _check(value: Value) -> Check:
    members = value.members(["name", "request", "constraints"])
    request = members["request"].members([], ["virtualHost", "path"])
    return Check(
        name=members["name"].string(),
        virtual_host=request["virtualHost"].named(names.is_host_name, "a host name")
        if "virtualHost" in request
        else None,
        path=request["path"].named(is_path, "a path of a URL") if "path" in request else "/",
        constraints=tuple(
            constraint(each["rule"], each["value"])
            for each in (item.members(["rule", "value"]) for item in members["constraints"].items())
        ),
    )
