"""The provider machine's `/etc/hostenv/provider.json`, made by the module or the image (contract 1)."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from hostenv_core.errors import HostenvError

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
    "tools",
)
_MAX_TIMEOUT = 7 * 24 * 3600
_MIN_QUOTA, _MAX_QUOTA = 16 << 20, 1 << 50


@dataclass(frozen=True)
class Config:
    """Where the provider keeps its data and finds its tools.

    `job_timeout` is how many seconds a waiting job may go without progress (contract 5), `verify_timeout`
    how many seconds the service's own check waits for an environment that is silent (contract 7).
    `public_url` is how nodes reach this machine's nginx, without a trailing slash. `source_folders` are those
    of this machine, `source_networks` those beside the public Internet, from which projects may be fetched.
    `backup_quota` is how many bytes one environment's backups may hold (contract 4).
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
        try:
            document = json.loads(source.read_text(encoding="utf-8"))
        except OSError as error:
            raise HostenvError(
                f"{source}: cannot be read ({error.strerror}): write the provider's configuration there"
            ) from error
        except (ValueError, RecursionError) as error:
            raise HostenvError(f"{source}: not JSON ({error}): correct it") from error
        if not isinstance(document, dict):
            raise HostenvError(f"{source}: must hold a JSON object")
        return _Reader(source, document).config()


class _Reader:
    """Takes values out of the document and says in each error which key of which file is wrong."""

    def __init__(self, source: Path, document: Mapping[str, object]) -> None:
        self._source = source
        self._document = document

    def config(self) -> Config:
        for key in self._document:
            if key not in _KEYS:
                raise HostenvError(f"{self._source}: unknown key {key!r}: remove it")
        return Config(
            data_dir=self._path("dataDir", "/var/lib/hostenv-provider"),
            socket=self._path("socket", "/run/hostenv-provider/hostenv-provider.sock"),
            user=self._text("user", "hostenv-provider"),
            public_url=self._url("publicUrl"),
            job_timeout=self._number("jobTimeout", 7200, "seconds", 1, _MAX_TIMEOUT),
            verify_timeout=self._number("verifyTimeout", 300, "seconds", 1, _MAX_TIMEOUT),
            source_folders=tuple(self._folder(each) for each in self._texts("sourceFolders")),
            source_networks=tuple(self._network(each) for each in self._texts("sourceNetworks")),
            backup_quota=self._number("backupQuota", 100 << 30, "bytes", _MIN_QUOTA, _MAX_QUOTA),
            tools=self._tools(),
        )

    def _text(self, key: str, default: str | None = None) -> str:
        value = self._document.get(key, default)
        if not isinstance(value, str) or not value.strip() or any(ord(c) < 32 for c in value):
            raise HostenvError(f"{self._source}: {key} must be a string of one line")
        return value

    def _path(self, key: str, default: str) -> Path:
        path = Path(self._text(key, default))
        if not path.is_absolute():
            raise HostenvError(f"{self._source}: {key} must be an absolute path, not {str(path)!r}")
        return path

    def _texts(self, key: str) -> list[str]:
        values = self._document.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise HostenvError(f"{self._source}: {key} must be a list of strings")
        return values

    def _folder(self, text: str) -> Path:
        if not text.startswith("/"):
            raise HostenvError(f"{self._source}: sourceFolders: {text!r} must be an absolute path")
        return Path(text)

    def _network(self, text: str) -> IPv4Network | IPv6Network:
        try:
            return ip_network(text)
        except ValueError as error:
            raise HostenvError(
                f"{self._source}: sourceNetworks: {error}: write a network such as 10.1.0.0/16"
            ) from error

    def _url(self, key: str) -> str:
        url = self._text(key)
        if not url.startswith(("http://", "https://")):
            raise HostenvError(f"{self._source}: {key} must be an http:// or https:// address, not {url!r}")
        return url.rstrip("/")

    def _number(self, key: str, default: int, unit: str, least: int, most: int) -> int:
        value = self._document.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise HostenvError(f"{self._source}: {key} must be a number of {unit} from {least} to {most}")
        return value

    def _tools(self) -> dict[str, str]:
        tools = self._document.get("tools", {})
        if not isinstance(tools, dict):
            raise HostenvError(f"{self._source}: tools must be an object of absolute paths")
        for name, path in tools.items():
            if not isinstance(path, str) or not path.startswith("/"):
                raise HostenvError(f"{self._source}: tools.{name} must be an absolute path")
        return dict(tools)
