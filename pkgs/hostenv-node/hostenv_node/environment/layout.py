"""Where the parts of an environment are on a node."""

import re
from dataclasses import dataclass
from pathlib import Path

from hostenv_core.names import is_job

from hostenv_node.errors import OperationFailed

RUN_DIR = Path("/run/hostenv")
PATH = "/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin"
"""Where an environment's programs find what they start by name, on NixOS and elsewhere."""

SYSTEM_UNIT_DIRS = (Path("/etc/systemd/user"), Path("/usr/lib/systemd/user"))
"""User units that come with the node."""

_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/-]*")


def job_name(job: str) -> str:
    """`job` if it can name a folder.

    Raises OperationFailed otherwise.
    """
    if not is_job(job):
        raise OperationFailed(f"{job!r} is not a job id")
    return job


@dataclass(frozen=True)
class Servers:
    """One nginx with its PHP-FPM: where they listen, and the folder of the release that they serve."""

    release: Path
    socket: Path
    fpm_socket: Path
    pid_file: Path
    php_log: str


@dataclass(frozen=True)
class Layout:
    """Paths of one environment. They need no quoting in nginx, systemd, PHP-FPM and MariaDB files."""

    user: str
    uid: int
    codebase: str
    home: Path
    freeze_file: Path
    run_dir: Path = RUN_DIR

    def __post_init__(self) -> None:
        for path in (self.home, self.freeze_file, self.run_dir):
            if not _PLAIN_PATH.fullmatch(str(path)):
                raise OperationFailed(
                    f"the path {str(path)!r} has characters that configuration files do not take"
                )

    @property
    def runtime_dir(self) -> Path:
        """The environment's own sockets (contract 8)."""
        return self.run_dir / "user" / self.user

    @property
    def upstream_dir(self) -> Path:
        """Shared with the front door."""
        return self.run_dir / "nginx" / self.user

    @property
    def upstream_socket(self) -> Path:
        return self.upstream_dir / "in.sock"

    @property
    def fpm_socket(self) -> Path:
        # Not named after the project, whose name may be that of another socket here.
        return self.runtime_dir / "php-fpm.sock"

    @property
    def mysql_socket(self) -> Path:
        return self.runtime_dir / "mysql.sock"

    @property
    def restore_socket(self) -> Path:
        """Of the server that runs on the data folder being restored."""
        return self.runtime_dir / "restore.sock"

    @property
    def nginx_pid_file(self) -> Path:
        return self.runtime_dir / "nginx.pid"

    @property
    def live(self) -> Servers:
        """What visitors are served by."""
        return Servers(self.current, self.upstream_socket, self.fpm_socket, self.nginx_pid_file, "syslog")

    def candidate(self, release: str) -> Servers:
        """The servers by which a new release is checked before visitors see it."""
        folder = self.runtime_dir
        return Servers(
            self.release(release),
            folder / "candidate-in.sock",
            folder / "candidate-php.sock",
            folder / "candidate.pid",
            str(self.candidate_log),
        )

    @property
    def candidate_log(self) -> Path:
        """What PHP wrote while a new release was checked."""
        return self.state_dir / "candidate.log"

    @property
    def config_dir(self) -> Path:
        """Rendered configuration."""
        return self.home / ".config/hostenv"

    @property
    def units_dir(self) -> Path:
        return self.home / ".config/systemd/user"

    @property
    def bin_dir(self) -> Path:
        return self.home / ".local/bin"

    @property
    def data_dir(self) -> Path:
        return self.home / ".local/share"

    @property
    def state_dir(self) -> Path:
        """What the user's side remembers."""
        return self.home / ".local/state/hostenv"

    @property
    def cache_dir(self) -> Path:
        return self.home / ".cache/hostenv"

    @property
    def app_dir(self) -> Path:
        """One release folder per revision, and the link `current`."""
        return self.data_dir / "app"

    @property
    def current(self) -> Path:
        return self.app_dir / "current"

    def release(self, name: str) -> Path:
        """A complete release; `public` in it is the document root."""
        return self.app_dir / name

    def unfinished_release(self, name: str) -> Path:
        """A release being laid out; `source` in it is the project's tree."""
        return self.app_dir / f".{name}.new"

    @property
    def discarded_dir(self) -> Path:
        """What is to be deleted and has lost its name."""
        return self.data_dir / ".discarded"

    @property
    def mysql_dir(self) -> Path:
        return self.data_dir / "mysql"

    @property
    def files_dir(self) -> Path:
        """Public files."""
        return self.data_dir / "files"

    @property
    def private_files_dir(self) -> Path:
        return self.data_dir / "private_files"

    @property
    def sessions_dir(self) -> Path:
        """PHP's session files."""
        return self.data_dir / "sessions"

    def copies(self, key: str) -> Path:
        """What a backup of a migration key holds beside the files, copied for it."""
        return self.data_dir / "backup" / key

    def base(self, key: str) -> Path:
        """The database's folder as a backup holds it, unless that has a dump."""
        return self.copies(key) / self.mysql_dir.name

    def dump(self, key: str) -> Path:
        """The database as SQL, in a backup for another series of MariaDB."""
        return self.copies(key) / "database.sql"

    def dump_wanted(self, key: str) -> Path:
        """If it exists, the backup makes a dump."""
        return self.state_dir / f"backup-{key}.dump"

    def base_position(self, key: str) -> Path:
        """Where in the binary log the last copy of the database's folder is."""
        return self.state_dir / f"backup-{key}.position"

    def sessions_copy(self, key: str) -> Path:
        """The session files as a backup holds them."""
        return self.copies(key) / self.sessions_dir.name

    def backup_summary(self, key: str) -> Path:
        """What restic said of the last backup, one JSON object per line."""
        return self.state_dir / f"backup-{key}.json"

    @property
    def standing_still(self) -> Path:
        """Which of the customer's own units the freeze stopped and the thaw starts again."""
        return self.state_dir / "standing-still.json"

    def set_aside(self, job: str) -> Path:
        """What a restore of that job found and did not overwrite."""
        return self.data_dir / "set-aside" / job_name(job)

    @property
    def sync_dir(self) -> Path:
        """What a live move has sent or taken in so far."""
        return self.data_dir / "sync"

    def delta(self, number: int) -> Path:
        """An archive of changes to be sent."""
        return self.sync_dir / f"delta-{number}.tar"

    def rest(self, number: int) -> Path:
        """The archive of the last changes, after those of all rounds."""
        return self.sync_dir / f"rest-{number}.tar"

    def incoming(self, number: int) -> Path:
        """An archive of changes, unpacked where it is to be taken in."""
        return self.sync_dir / f"incoming-{number}"

    @property
    def restore_dir(self) -> Path:
        """Data being restored, before they replace the live ones."""
        return self.data_dir / "restore"

    @property
    def mysql_unit(self) -> str:
        return "mysql.service"

    @property
    def restore_unit(self) -> str:
        return "mysql-restore.service"

    @property
    def fpm_unit(self) -> str:
        return f"phpfpm-{self.codebase}.service"

    @property
    def nginx_unit(self) -> str:
        return "nginx.service"

    @property
    def candidate_unit(self) -> str:
        """Of a new release that nobody is served by."""
        return "hostenv-candidate.service"

    @property
    def target_unit(self) -> str:
        return "hostenv-environment.target"

    @property
    def units(self) -> tuple[str, ...]:
        """The units that serve, in the order in which they start."""
        return (self.mysql_unit, self.fpm_unit, self.nginx_unit, self.target_unit)

    @property
    def services(self) -> tuple[str, ...]:
        """Our own services, except the backups'."""
        return (self.mysql_unit, self.restore_unit, self.fpm_unit, self.nginx_unit, self.candidate_unit)

    def is_own_unit(self, name: str) -> bool:
        """Whether a unit is ours and not the customer's."""
        return name in (*self.services, self.target_unit) or name.startswith("restic-backups-")

    def backup_unit(self, key: str) -> str:
        return f"restic-backups-{key}.service"
