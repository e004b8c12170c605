"""`provider.json`, which operators write (contract 3).

An unknown key is an error, so that a typing error is noticed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hostenv_core import names
from hostenv_core.json_value import Value

from hostenv_provider.plan.definitions import ENVIRONMENT_TYPES


@dataclass(frozen=True)
class Node:
    """A machine that hosts environments; `address` is an IP address or a host name."""

    address: str


@dataclass(frozen=True)
class ProviderSettings:
    """`provider.json`, and this machine's `public_url`, which the plan repeats for the nodes.

    `grants` are the host names, or patterns of them, that a project's environments may have beside their
    own; a project without an entry is older than grants (`hosts`).
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
