"""The plan, which says of each environment where it runs, as whom and from which source (contract 6)."""

from collections.abc import Mapping
from dataclasses import dataclass

from hostenv_core import names
from hostenv_core.checks import Check
from hostenv_core.errors import HostenvError
from hostenv_core.json_value import Value
from hostenv_core.lines import shown
from hostenv_core.names import FIRST_UID, LAST_UID

from hostenv_provider.plan import definitions
from hostenv_provider.plan.definitions import Application, User, VirtualHost
from hostenv_provider.plan.settings import ProviderSettings

_DESCRIPTION = "Made by hostenv-provider from provider.json and the projects' flakes. Changes here are lost."


@dataclass(frozen=True)
class Source:
    """A project's source at one revision; `nar_hash` is the SRI hash of its tree, without `.git`."""

    url: str
    ref: str
    rev: str
    nar_hash: str


@dataclass(frozen=True)
class Environment:
    """One environment of the plan (contract 6)."""

    organisation: str
    project: str
    name: str
    enable: bool
    type: str
    node: str
    previous_node: str | None
    uid: int
    migrations: tuple[str, ...]
    application: Application
    virtual_hosts: Mapping[str, VirtualHost]
    users: Mapping[str, User]
    checks: tuple[Check, ...]
    source: Source
    hostenv_hostname: str
    backups_repo_host: str

    @property
    def user_name(self) -> str:
        """The Unix user, which is also the environment's key in the plan."""
        return names.user_name(self.organisation, self.project, self.name)

    @property
    def hostname(self) -> str:
        """The canonical virtual host."""
        return f"{self.user_name}.{self.hostenv_hostname}"

    @property
    def project_key(self) -> str:
        """`<organisation>__<project>`."""
        return names.project_key(self.organisation, self.project)

    @property
    def project_name_hash(self) -> str:
        """What the webhook's address ends with."""
        return names.project_name_hash(self.organisation, self.project, self.name)

    def to_json(self) -> dict[str, object]:
        """The `env` object of contract 6."""
        return {
            "enable": self.enable,
            "type": self.type,
            "node": self.node,
            "previousNode": self.previous_node,
            "uid": self.uid,
            "migrations": list(self.migrations),
            "application": _application_to_json(self.application),
            "virtualHosts": {
                name: {"enableACME": host.enable_acme, "forceSSL": host.force_ssl}
                for name, host in sorted(self.virtual_hosts.items())
            },
            "authorizedKeys": [key for _, user in sorted(self.users.items()) for key in user.public_keys],
            "repo": {
                "url": self.source.url,
                "ref": self.source.ref,
                "rev": self.source.rev,
                "narHash": self.source.nar_hash,
            },
            "users": {
                name: {"email": user.email, "publicKeys": list(user.public_keys)}
                for name, user in sorted(self.users.items())
            },
            "deploymentVerification": {"checks": [_check_to_json(check) for check in self.checks]},
            "hostenv": self._hostenv(),
        }

    def comparable(self) -> dict[str, object]:
        """The JSON that decides whether an environment changed: all but `previousNode` (contract 6)."""
        document = self.to_json()
        del document["previousNode"]
        return document

    @classmethod
    def from_comparable(cls, document: Mapping[str, object], source: str) -> "Environment":
        """What `comparable` made, without the previous node. Raises InvalidData, which names `source`."""
        return _environment(Value({**document, "previousNode": None}, source, "$", most=None))

    def _hostenv(self) -> dict[str, object]:
        user = self.user_name
        data_dir = f"/home/{user}/.local/share"
        return {
            "organisation": self.organisation,
            "project": self.project,
            "environmentName": self.name,
            "safeEnvironmentName": names.slug(self.name),
            "gitRef": self.source.ref,
            "userName": user,
            "hostname": self.hostname,
            "hostenvHostname": self.hostenv_hostname,
            "runtimeDir": f"/run/hostenv/user/{user}",
            "upstreamRuntimeDir": f"/run/hostenv/nginx/{user}",
            "dataDir": data_dir,
            "stateDir": f"/home/{user}/.local/state",
            "cacheDir": f"/home/{user}/.cache",
            "root": f"{data_dir}/app/current",
            "backupsRepoHost": self.backups_repo_host,
            "projectNameHash": self.project_name_hash,
        }


@dataclass(frozen=True)
class Plan:
    """`generated/plan.json`: all environments by user name, and the names of all nodes, hosting or not."""

    hostenv_hostname: str
    public_url: str
    environments: Mapping[str, Environment]
    nodes: tuple[str, ...]

    @classmethod
    def empty(cls, settings: ProviderSettings) -> "Plan":
        """The plan of a provider without projects."""
        return cls(settings.hostenv_hostname, settings.public_url, {}, tuple(sorted(settings.nodes)))

    def slice(self, node: str) -> dict[str, object]:
        """What `node` is told: its enabled environments (contract 3, `slice.json`)."""
        return {
            "node": node,
            "hostenvHostname": self.hostenv_hostname,
            "environments": {
                user: environment.to_json()
                for user, environment in sorted(self.environments.items())
                if environment.enable and environment.node == node
            },
        }

    def of_project(self, key: str) -> dict[str, Environment]:
        """The environments, by user name, of the project `<organisation>__<project>`."""
        return {user: each for user, each in self.environments.items() if each.project_key == key}

    def resolve(self, reference: str) -> Environment:
        """The environment that `reference` means: a user name or `org__project/environment` (contract 6).

        Raises HostenvError if there is none.
        """
        for user, environment in self.environments.items():
            if reference in (user, f"{environment.project_key}/{environment.name}"):
                return environment
        known = ", ".join(sorted(self.environments)) or "none"
        raise HostenvError(f"no environment {shown(reference)} in the plan; there are: {known}")

    def to_json(self) -> dict[str, object]:
        """The document of contract 6."""
        return {
            "_description": _DESCRIPTION,
            "hostenvHostname": self.hostenv_hostname,
            "comin": {
                "enable": True,
                "remoteUrl": f"{self.public_url}/git/nodes/{{node}}.git",
                "branch": "main",
                "providerApiBaseUrl": self.public_url,
            },
            "environments": {user: each.to_json() for user, each in sorted(self.environments.items())},
            "nodes": {node: self.slice(node) for node in sorted(self.nodes)},
        }

    @classmethod
    def from_json(cls, document: object, source: str = "plan.json") -> "Plan":
        """Raises InvalidData if `document` is not a plan."""
        members = Value(document, source, "$", most=None).members(
            ["_description", "hostenvHostname", "comin", "environments", "nodes"]
        )
        comin = members["comin"].members(["enable", "remoteUrl", "branch", "providerApiBaseUrl"])
        environments: dict[str, Environment] = {}
        for user, value in members["environments"].entries(names.is_user_name, "a userName").items():
            environments[user] = _environment(value)
            if environments[user].user_name != user:
                raise value.error(f"is the environment of {environments[user].user_name}")
        return cls(
            hostenv_hostname=members["hostenvHostname"].string(),
            public_url=comin["providerApiBaseUrl"].string(),
            environments=environments,
            nodes=tuple(members["nodes"].entries(names.is_node_name, "a node's name")),
        )


@dataclass(frozen=True)
class Reservation:
    """What stays an environment's own, also after it has left the plan."""

    uid: int
    node: str
    virtual_hosts: tuple[str, ...]


@dataclass(frozen=True)
class State:
    """`generated/state.json`: reservations by user name."""

    reservations: Mapping[str, Reservation]

    @classmethod
    def empty(cls) -> "State":
        """The state of a provider that has never hosted anything."""
        return cls({})

    def to_json(self) -> dict[str, object]:
        """The document of contract 6."""
        return {
            user: {
                "userName": user,
                "uid": reservation.uid,
                "node": reservation.node,
                "virtualHosts": sorted(reservation.virtual_hosts),
            }
            for user, reservation in sorted(self.reservations.items())
        }

    @classmethod
    def from_json(cls, document: object, source: str = "state.json") -> "State":
        """Raises InvalidData if `document` is not a state."""
        reservations: dict[str, Reservation] = {}
        found = Value(document, source, "$", most=None).entries(names.is_user_name, "a userName")
        for user, value in found.items():
            members = value.members(["userName", "uid", "node", "virtualHosts"])
            if members["userName"].string() != user:
                raise members["userName"].error(f"must be {user!r}")
            reservations[user] = Reservation(
                uid=members["uid"].integer(FIRST_UID, LAST_UID),
                node=members["node"].string(),
                virtual_hosts=tuple(item.string() for item in members["virtualHosts"].items()),
            )
        return cls(reservations)


def _application_to_json(application: Application) -> dict[str, object]:
    document: dict[str, object] = {"name": application.name, "docroot": application.docroot}
    if application.profile is not None:
        document["profile"] = application.profile
    return document


def _check_to_json(check: Check) -> dict[str, object]:
    return {
        "name": check.name,
        "request": {"virtualHost": check.virtual_host, "path": check.path},
        "constraints": [{"rule": rule.rule, "value": rule.value} for rule in check.constraints],
    }


def _environment(value: Value) -> Environment:
    members = value.members(
        [
            *("enable", "type", "node", "previousNode", "uid", "migrations", "application", "virtualHosts"),
            *("authorizedKeys", "repo", "users", "deploymentVerification", "hostenv"),
        ]
    )
    repo = members["repo"].members(["url", "ref", "rev", "narHash"])
    hostenv = members["hostenv"].members(
        ["organisation", "project", "environmentName", "hostenvHostname", "backupsRepoHost"],
        [
            *("safeEnvironmentName", "gitRef", "userName", "hostname", "runtimeDir", "upstreamRuntimeDir"),
            *("dataDir", "stateDir", "cacheDir", "root", "projectNameHash"),
        ],
    )
    previous_node = members["previousNode"]
    return Environment(
        organisation=hostenv["organisation"].string(),
        project=hostenv["project"].string(),
        name=hostenv["environmentName"].string(),
        enable=members["enable"].boolean(),
        type=members["type"].choice(definitions.ENVIRONMENT_TYPES),
        node=members["node"].named(names.is_node_name, "a node's name"),
        previous_node=None
        if previous_node.raw is None
        else previous_node.named(names.is_node_name, "a node's name"),
        uid=members["uid"].integer(FIRST_UID, LAST_UID),
        migrations=definitions.migrations(members["migrations"]),
        application=definitions.application(members["application"]),
        virtual_hosts=definitions.virtual_hosts(members["virtualHosts"]),
        users=definitions.users(members["users"]),
        checks=definitions.checks(members["deploymentVerification"]),
        source=Source(
            repo["url"].string(), repo["ref"].string(), repo["rev"].string(), repo["narHash"].string()
        ),
        hostenv_hostname=hostenv["hostenvHostname"].string(),
        backups_repo_host=hostenv["backupsRepoHost"].string(),
    )
