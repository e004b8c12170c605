"""The node's machine configuration, `/etc/hostenv/node.json`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hostenv_core.errors import HostenvError

from hostenv_node.files import read_json

DEFAULT_PATH = "/etc/hostenv/node.json"

# Contract 8: the variables that configure the post-deployment command win over the file.
OVERRIDES = {
    "HOSTENV_COMIN_NODE_NAME": "node",
    "HOSTENV_COMIN_API_BASE_URL": "apiBaseUrl",
    "HOSTENV_COMIN_TOKEN_FILE": "tokenFile",
    "HOSTENV_COMIN_ACTION_TIMEOUT": "actionTimeout",
}


@dataclass(frozen=True)
class Application:
    """Code that the node's operator supplies for one `application.name` (contract 8)."""

    root: Path
    docroot: str
    """What a web server serves, relative to `root`."""

    @classmethod
    def at(cls, root: Path) -> "Application":
        """The code in `root`; Composer's project template serves its folder `web`."""
        return cls(root, "web" if (root / "web" / "index.php").is_file() else ".")


@dataclass(frozen=True)
class Config:
    """What a node knows about itself. Times in seconds unless the name says otherwise."""

    node: str
    api_base_url: str
    token_file: Path
    state_dir: Path
    front_door_group: str
    front_door_port: int
    shell: str
    comin_profile: Path
    mime_types: Path
    """nginx' own file of media types by file name."""
    set_aside_retention_days: int
    action_timeout: int
    applications: Mapping[str, Application]
    tools: Mapping[str, str]

    @classmethod
    def load(cls, path: Path | None = None, environ: Mapping[str, str] = os.environ) -> "Config":
        """Read the file at `path`, else at `$HOSTENV_NODE_CONFIG`, else `/etc/hostenv/node.json`.

        Raises HostenvError naming the file and the key that is missing or wrong.
        """
        path = path or Path(environ.get("HOSTENV_NODE_CONFIG", DEFAULT_PATH))
        read = read_json(path)
        if read is None:
            raise HostenvError(f"{path} is missing; the node's module or image writes it")
        values = dict(read)
        for variable, key in OVERRIDES.items():
            if environ.get(variable):
                values[key] = environ[variable]
        return _Reader(path, values).config()

    def tool(self, name: str) -> str:
        """The absolute path of an external program.

        Raises HostenvError when the configuration names none.
        """
        try:
            return self.tools[name]
        except KeyError:
            raise HostenvError(f"no path for the program {name!r}; add it to tools in node.json") from None

    @property
    def generation_file(self) -> Path:
        """The generation that was switched to last: commit and store path."""
        return self.state_dir / "generation.json"

    @property
    def slice_file(self) -> Path:
        """This node's part of the plan, as of the generation."""
        return self.state_dir / "slice.json"

    @property
    def users_file(self) -> Path:
        """The accounts that hostenv made."""
        return self.state_dir / "users.json"

    @property
    def environments_dir(self) -> Path:
        """One record per environment: the entry that was applied last."""
        return self.state_dir / "environments"

    @property
    def jobs_dir(self) -> Path:
        """One journal per job that is not closed."""
        return self.state_dir / "jobs"

    @property
    def spool_dir(self) -> Path:
        """What comin's post-deployment command left for the activation."""
        return self.state_dir / "spool"

    @property
    def nginx_dir(self) -> Path:
        """The front door's server blocks, one file per environment."""
        return self.state_dir / "nginx"

    @property
    def freeze_dir(self) -> Path:
        """One file per frozen environment; it names the job that froze it."""
        return self.state_dir / "freeze"

    @property
    def leftovers_dir(self) -> Path:
        """One file per environment in whose home something could not be deleted."""
        return self.state_dir / "leftovers"

    @property
    def git_dir(self) -> Path:
        """Root's copies of the projects' repositories."""
        return self.state_dir / "git"

    @property
    def lock_file(self) -> Path:
        """Held by the one activation that runs."""
        return self.state_dir / "lock"

    @property
    def front_door_lock_file(self) -> Path:
        """Held while the front door changes together with a record, and while it is made from the records."""
        return self.state_dir / "front-door.lock"

    @property
    def switch_lock_file(self) -> Path:
        """Held while a generation is taken over, by comin's switch or by the activation."""
        return self.state_dir / "switch.lock"


class _Reader:
    def __init__(self, path: Path, values: Mapping[str, object]) -> None:
        self.path = path
        self.values = values

    def config(self) -> Config:
        return Config(
            node=self.text("node"),
            api_base_url=self.text("apiBaseUrl").rstrip("/"),
            token_file=Path(self.text("tokenFile", "/etc/hostenv/node-token")),
            state_dir=Path(self.text("stateDir", "/var/lib/hostenv")),
            front_door_group=self.text("frontDoorGroup"),
            front_door_port=self.number("frontDoorPort", 80),
            shell=self.text("shell", "/bin/sh"),
            comin_profile=Path(self.text("cominProfile", "/nix/var/nix/profiles/system-profiles/comin")),
            mime_types=Path(self.text("mimeTypes", "/etc/nginx/mime.types")),
            set_aside_retention_days=self.number("setAsideRetentionDays", 30),
            action_timeout=self.number("actionTimeout", 900),
            applications={
                name: Application.at(Path(_Reader(self.path, _mapping(self.path, value)).text("root")))
                for name, value in self.mapping("applications").items()
            },
            tools={name: _text(self.path, name, value) for name, value in self.mapping("tools").items()},
        )

    def text(self, key: str, default: str | None = None) -> str:
        return _text(self.path, key, self.values.get(key, default))

    def number(self, key: str, default: int) -> int:
        value = self.values.get(key, default)
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise HostenvError(f"{self.path}: {key} must be a positive whole number, not {value!r}")
        return value

    def mapping(self, key: str) -> Mapping[str, object]:
        return _mapping(self.path, self.values.get(key, {}))


def _text(path: Path, key: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise HostenvError(f"{path}: {key} must be a non-empty text, not {value!r}")
    return value


def _mapping(path: Path, value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise HostenvError(f"{path}: expected an object, not {value!r}")
    return value
