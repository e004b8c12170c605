"""The node's machine configuration, `/etc/hostenv/node.json`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.files import read_json
from hostenv_core.json_value import Value

DEFAULT_PATH = "/etc/hostenv/node.json"
MOST_PARALLEL_JOBS = 64

# Contract 8: the variables that configure the post-deployment command override the file.
OVERRIDES = {
    "HOSTENV_COMIN_NODE_NAME": "node",
    "HOSTENV_COMIN_API_BASE_URL": "apiBaseUrl",
    "HOSTENV_COMIN_TOKEN_FILE": "tokenFile",
    "HOSTENV_COMIN_ACTION_TIMEOUT": "actionTimeout",
}
_NUMBERS = ("actionTimeout",)


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
    parallel_jobs: int
    """How many jobs may work at once; one that waits for another node does not count."""
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
                text = environ[variable]
                values[key] = int(text) if key in _NUMBERS and text.isdecimal() else text
        return _config(Value(values, path, most=None, remedy="correct it"))

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
    def locks_dir(self) -> Path:
        """The files of `locks`."""
        return self.state_dir / "locks"


def _config(values: Value) -> Config:
    member = values.member
    return Config(
        node=member("node").string(),
        api_base_url=member("apiBaseUrl").string().rstrip("/"),
        token_file=Path(member("tokenFile", "/etc/hostenv/node-token").string()),
        state_dir=Path(member("stateDir", "/var/lib/hostenv").string()),
        front_door_group=member("frontDoorGroup").string(),
        front_door_port=member("frontDoorPort", 80).integer(1),
        shell=member("shell", "/bin/sh").string(),
        comin_profile=Path(member("cominProfile", "/nix/var/nix/profiles/system-profiles/comin").string()),
        mime_types=Path(member("mimeTypes", "/etc/nginx/mime.types").string()),
        set_aside_retention_days=member("setAsideRetentionDays", 30).integer(1),
        action_timeout=member("actionTimeout", 900).integer(1),
        parallel_jobs=member("parallelJobs", 4).integer(1, MOST_PARALLEL_JOBS),
        applications={
            name: Application.at(Path(value.member("root").string()))
            for name, value in member("applications", {}).object().items()
        },
        tools={name: value.string() for name, value in member("tools", {}).object().items()},
    )
