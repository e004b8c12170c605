"""What people and projects write, checked before anything is made of it (contract 3): `provider.json` and the
environments of a project's flake. Unknown keys are errors, so that a slip of the pen is seen at once.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from hostenv_provider import names
from hostenv_provider.errors import InvalidData

ENVIRONMENT_TYPES = ("development", "production", "testing")
APPLICATIONS = ("drupal", "php")
CONSTRAINT_RULES = ("bodyContains", "maxHttpStatus", "minHttpStatus")

MAX_ENTRIES = 100
"""So many entries may an object or a list have that a project defines."""

_MAX_TEXT = 1000
_MAX_FILE_NAME = 255
_PUBLIC_KEY = re.compile(r"(ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3}( [ -~]*)?")
_DOCROOT = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._/-]*")
_REQUEST_PATH = re.compile(r"/[!-~]*")


@dataclass(frozen=True)
class Node:
    """A machine that hosts environments; `address` is an IP address or a host name."""

    address: str


@dataclass(frozen=True)
class ProviderSettings:
    """`provider.json`, and this machine's `public_url`, which the plan repeats for the nodes.

    `grants` are the host names, or patterns of them, that a project's environments may have beside their own;
    a project without an entry is from before there were any (`hosts`).
    """

    hostenv_hostname: str
    node_for: Mapping[str, str]
    nodes: Mapping[str, Node]
    placements: Mapping[str, str]
    public_url: str
    grants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, document: object, public_url: str, source: str = "provider.json") -> "ProviderSettings":
        """Raises InvalidData, which names `source` and the JSON path."""
        return _settings(Value(document, source, "$", most=None), public_url)

    @property
    def addresses(self) -> dict[str, str]:
        """Every node's address."""
        return {name: node.address for name, node in self.nodes.items()}

    def to_json(self) -> dict[str, object]:
        """The document that `parse` reads."""
        projects = {key: {"hosts": list(hosts)} for key, hosts in self.grants.items()}
        return {
            "hostenvHostname": self.hostenv_hostname,
            "nodeFor": dict(self.node_for),
            "nodes": {name: {"address": node.address} for name, node in self.nodes.items()},
            "environments": {user: {"node": node} for user, node in self.placements.items()},
            **({"projects": projects} if projects else {}),
        }


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
class Constraint:
    """What an answer must keep to: `minHttpStatus`, `maxHttpStatus` (number) or `bodyContains` (text)."""

    rule: str
    value: int | str


@dataclass(frozen=True)
class Check:
    """A request of the service's own verification (contract 7); no `virtual_host` means the canonical one."""

    name: str
    virtual_host: str | None
    path: str
    constraints: tuple[Constraint, ...]


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


class Value:
    """A value of a JSON document with its place, which every error names.

    `most` bounds the entries of each object and list in it: None for what the provider writes itself, which
    may hold as much as has been defined.
    """

    def __init__(self, raw: object, source: str, path: str, most: int | None = MAX_ENTRIES) -> None:
        self.raw = raw
        self._source = source
        self._path = path
        self._most = most

    def error(self, problem: str) -> InvalidData:
        """An error about this place: what it must be."""
        return InvalidData(f"{self._source}: {self._path}: {problem}")

    def _mapping(self) -> Mapping[str, object]:
        if not isinstance(self.raw, Mapping):
            raise self.error("must be an object")
        return self.raw

    def _below(self, raw: object, place: str) -> "Value":
        return Value(raw, self._source, f"{self._path}{place}", self._most)

    def members(self, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, "Value"]:
        """The members of an object that has all `required` keys and no other than those and `optional`."""
        found = self.object()
        for key in found:
            if key not in required and key not in optional:
                known = ", ".join(sorted((*required, *optional)))
                raise self.error(f"unknown key {names.shown(key)}, known are {known}")
        for key in required:
            if key not in found:
                raise self.error(f"{key} is missing")
        return {key: value for key, value in found.items() if value.raw is not None or key in required}

    def entries(self, is_valid: Callable[[str], bool], what: str) -> dict[str, "Value"]:
        """The members, sorted, of an object whose keys all satisfy `is_valid`."""
        found = self._mapping()
        if self._most is not None and len(found) > self._most:
            raise self.error(f"has {len(found)} entries, {self._most} are the most")
        for key in found:
            if not isinstance(key, str) or not is_valid(key):
                raise self.error(f"{names.shown(str(key))} is not valid as {what}")
        return {key: self._below(found[key], f".{key}") for key in sorted(found)}

    def object(self) -> dict[str, "Value"]:
        """The members, sorted, of any object, for documents that another program makes."""
        found = self._mapping()
        return {key: self._below(found[key], f".{key}") for key in sorted(found, key=str)}

    def items(self) -> Iterator["Value"]:
        """The elements of a list."""
        if not isinstance(self.raw, list):
            raise self.error("must be a list")
        if self._most is not None and len(self.raw) > self._most:
            raise self.error(f"has {len(self.raw)} elements, {self._most} are the most")
        for index, element in enumerate(self.raw):
            yield self._below(element, f"[{index}]")

    def text(self) -> str:
        """A text of one line, at most 1000 characters."""
        if not isinstance(self.raw, str):
            raise self.error("must be a text")
        if not self.raw or len(self.raw) > _MAX_TEXT or not self.raw.isprintable():
            raise self.error(
                f"{names.shown(self.raw)} must be one line of 1 to {_MAX_TEXT} printable characters"
            )
        return self.raw

    def named(self, is_valid: Callable[[str], bool], what: str) -> str:
        """A text that satisfies `is_valid`."""
        text = self.text()
        if not is_valid(text):
            raise self.error(f"{names.shown(text)} is not valid as {what}")
        return text

    def choice(self, choices: Sequence[str]) -> str:
        """One of some texts."""
        return self.named(lambda text: text in choices, f"one of {', '.join(choices)}")

    def boolean(self) -> bool:
        """True or false."""
        if not isinstance(self.raw, bool):
            raise self.error("must be true or false")
        return self.raw

    def integer(self, least: int, most: int) -> int:
        """A whole number within bounds."""
        if not isinstance(self.raw, int) or isinstance(self.raw, bool) or not least <= self.raw <= most:
            raise self.error(f"must be a whole number from {least} to {most}")
        return self.raw


def application(value: Value) -> Application:
    """Raises InvalidData."""
    members = value.members(["name"], ["docroot", "profile"])
    return Application(
        name=members["name"].choice(APPLICATIONS),
        docroot=members["docroot"].named(_is_docroot, "a folder below the project's root")
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


def _settings(value: Value, public_url: str) -> ProviderSettings:
    members = value.members(["hostenvHostname", "nodeFor", "nodes"], ["environments", "projects"])
    nodes = {
        name: Node(
            entry.members(["address"])["address"].named(names.is_address, "an IP address or a host name")
        )
        for name, entry in members["nodes"].entries(names.is_node_name, "a node's name").items()
    }
    if not nodes:
        raise members["nodes"].error("names no node")

    def node(entry: Value) -> str:
        return entry.named(lambda name: name in nodes, "a node: it is not in nodes")

    node_for = members["nodeFor"].members(["default"], ENVIRONMENT_TYPES)
    placements: dict[str, str] = {}
    if "environments" in members:
        for user, entry in (
            members["environments"].entries(names.is_user_name, "an environment's userName").items()
        ):
            placements[user] = node(entry.members(["node"])["node"])
    grants: dict[str, tuple[str, ...]] = {}
    if "projects" in members:
        for key, entry in (
            members["projects"].entries(names.is_project_key, "<organisation>__<project>").items()
        ):
            hosts = entry.members(["hosts"])["hosts"].items()
            grants[key] = tuple(
                each.named(names.is_host_grant, "a host name, *.<domain> or *, perhaps after dns:")
                for each in hosts
            )
    return ProviderSettings(
        hostenv_hostname=members["hostenvHostname"].named(
            names.is_domain_of_environments, "a host name with room for an environment's label before it"
        ),
        node_for={kind: node(entry) for kind, entry in node_for.items()},
        nodes=nodes,
        placements=placements,
        public_url=public_url,
        grants=grants,
    )


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
            f"profile {names.shown(found.profile)}: use small letters, digits and _, beginning with a letter"
        )
    return found


def _git_reference(value: Value | None, name: str, environment: Value) -> str:
    if value is not None:
        return value.named(names.is_git_reference, "a branch name")
    if not names.is_git_reference(name):
        raise environment.error("gitRef is missing, and the environment's name is no branch name")
    return name


def _is_docroot(text: str) -> bool:
    path = PurePosixPath(text)
    return (
        _DOCROOT.fullmatch(text) is not None
        and not path.is_absolute()
        and all(part != ".." and len(part) <= _MAX_FILE_NAME for part in path.parts)
    )


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
        email=members["email"].text() if "email" in members else None,
        public_keys=tuple(
            key.named(lambda text: _PUBLIC_KEY.fullmatch(text) is not None, "an SSH public key")
            for key in keys
        ),
    )


def _check(value: Value) -> Check:
    members = value.members(["name", "request", "constraints"])
    request = members["request"].members([], ["virtualHost", "path"])
    return Check(
        name=members["name"].text(),
        virtual_host=request["virtualHost"].named(names.is_host_name, "a host name")
        if "virtualHost" in request
        else None,
        path=request["path"].named(lambda text: _REQUEST_PATH.fullmatch(text) is not None, "a path of a URL")
        if "path" in request
        else "/",
        constraints=tuple(_constraint(item) for item in members["constraints"].items()),
    )


def _constraint(value: Value) -> Constraint:
    members = value.members(["rule", "value"])
    rule = members["rule"].choice(CONSTRAINT_RULES)
    if rule == "bodyContains":
        return Constraint(rule, members["value"].text())
    return Constraint(rule, members["value"].integer(100, 599))
