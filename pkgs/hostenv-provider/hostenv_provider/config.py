"""The provider machine's `/etc/hostenv/provider.json`, made by the module or the image (contract 1)."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.files import read_json
from hostenv_core.json_value import Value

DEFAULT_PATH = Path("/etc/hostenv/provider.json")
PATH_VARIABLE = "HOSTENV_PROVIDER_CONFIG"

_KEYS = (
    "dataDir",
    "socket",
    "user",
    "publicUrl",
    "jobTimeout",
    "verifyTimeout",
    "sourceFolders",
    "sourceNetworks",
    "backupQuota",
    "retention",
    "tools",
)
_MAX_TIMEOUT = 7 * 24 * 3600
_MAX_DAYS = 36_500
_MIN_QUOTA, _MAX_QUOTA = 16 << 20, 1 << 50


@dataclass(frozen=True)
class Config:
    """Where the provider keeps its data and finds its tools.

    `job_timeout` is how many seconds a waiting job may go without progress (contract 5), `verify_timeout`
    how many seconds the service's own check waits for an environment that is silent (contract 7).
    `public_url` is how nodes reach this machine's nginx, without a trailing slash. `source_folders` are those
    of this machine, `source_networks` those beside the public Internet, from which projects may be fetched.
    `backup_quota` is how many bytes one environment's backups may hold (contract 4), `job_retention` and
    `delivery_retention` for how many days ended jobs and webhook deliveries are kept (contract 5).
    """

    data_dir: Path
    socket: Path
    user: str
    public_url: str
    job_timeout: int = 7200
    verify_timeout: int = 300
    source_folders: tuple[Path, ...] = ()
    source_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    backup_quota: int = 100 << 30
    job_retention: int = 90
    delivery_retention: int = 30
    tools: Mapping[str, str] = field(default_factory=dict)

    @property
    def repo_dir(self) -> Path:
        """Work tree of the provider repository."""
        return self.data_dir / "repo"

    @property
    def evaluation_socket(self) -> Path:
        """Where hostenv-evaluate.socket listens, which gives each flake a box of its own."""
        return Path("/run/hostenv-evaluate.sock")

    @property
    def tree_dir(self) -> Path:
        """Folder for the one tree of a project that is being looked at, by whoever holds the lock."""
        return self.data_dir / "tree"

    @property
    def git_dir(self) -> Path:
        """Folder of the bare repositories: `provider.git`, `<org>__<project>.git` and the nodes' own."""
        return self.data_dir / "git"

    @property
    def node_git_dir(self) -> Path:
        """Folder of the nodes' repositories, `<node>.git` each."""
        return self.git_dir / "nodes"

    @property
    def backups_dir(self) -> Path:
        """Folder of the environments' restic repositories, `<user>` each."""
        return self.data_dir / "backups"

    @property
    def transfers_dir(self) -> Path:
        """Folder of what live moves send from node to node, `<job>/<user>/<name>` each."""
        return self.data_dir / "transfers"

    @property
    def database(self) -> Path:
        return self.data_dir / "provider.sqlite3"

    @property
    def secrets_dir(self) -> Path:
        """Folder of the environments' secrets, `<user>.json` each."""
        return self.data_dir / "secrets"

    @property
    def webhook_secrets_dir(self) -> Path:
        """Folder of the projects' webhook secrets, `<org>__<project>.json` each."""
        return self.data_dir / "webhooks"

    @property
    def tokens_file(self) -> Path:
        return self.data_dir / "tokens.json"

    @property
    def previous_tokens_file(self) -> Path:
        """Tokens that a rotation replaced and that are valid until the new one was used (contract 6)."""
        return self.data_dir / "tokens.previous.json"

    @property
    def backup_accounts_dir(self) -> Path:
        """Folder of the nodes' accounts and keys for these, `<user>.json` each."""
        return self.data_dir / "backup-accounts"

    @property
    def lock(self) -> Path:
        """Lock of the work tree, held by the worker or by a command."""
        return self.data_dir / "repo.lock"

    def tool(self, name: str) -> str:
        """The absolute path of an external program.

        Raises HostenvError if the configuration does not name it.
        """
        try:
            return self.tools[name]
        except KeyError:
            raise HostenvError(f'no path of {name!r} in the configuration: add it under "tools"') from None

    @classmethod
    def load(cls, path: Path | None = None) -> "Config":
        """Read the configuration at `path`, else at $HOSTENV_PROVIDER_CONFIG, else at its usual place.

        Raises HostenvError if the file is absent, is not JSON or has a value of a wrong kind.
        """
        source = path or Path(os.environ.get(PATH_VARIABLE) or DEFAULT_PATH)
        document = read_json(source)
        if document is None:
            raise HostenvError(f"{source}: is missing: write the provider's configuration there")
        return _config(Value(document, source, most=None, remedy="correct it"))


def _config(values: Value) -> Config:
    values.members([], _KEYS)
    member = values.member
    retention = member("retention", {})
    retention.members([], ["jobs", "deliveries"])
    return Config(
        data_dir=_path(member("dataDir", "/var/lib/hostenv-provider")),
        socket=_path(member("socket", "/run/hostenv-provider/hostenv-provider.sock")),
        user=member("user", "hostenv-provider").string(),
        public_url=member("publicUrl").named(_is_url, "an http:// or https:// address").rstrip("/"),
        job_timeout=member("jobTimeout", 7200).integer(1, _MAX_TIMEOUT),
        verify_timeout=member("verifyTimeout", 300).integer(1, _MAX_TIMEOUT),
        source_folders=tuple(_path(each) for each in member("sourceFolders", []).items()),
        source_networks=tuple(_network(each) for each in member("sourceNetworks", []).items()),
        backup_quota=member("backupQuota", 100 << 30).integer(_MIN_QUOTA, _MAX_QUOTA),
        job_retention=retention.member("jobs", 90).integer(1, _MAX_DAYS),
        delivery_retention=retention.member("deliveries", 30).integer(1, _MAX_DAYS),
        tools={name: str(_path(each)) for name, each in member("tools", {}).object().items()},
    )


def _path(value: Value) -> Path:
    return Path(value.named(lambda text: text.startswith("/"), "an absolute path"))


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def _network(value: Value) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value.string())
    except ValueError as error:
        raise value.error(f"{error}: write a network such as 10.1.0.0/16") from error
