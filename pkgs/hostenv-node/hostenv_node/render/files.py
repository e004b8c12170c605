"""From an environment's entry to the files that its user runs it with (contract 8). Pure."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hostenv_core.secret_names import BACKUP_SECRETS, HASH_SALT, RESERVED, variable_name

from hostenv_node.config import Config
from hostenv_node.environment.database import MAX_PACKET
from hostenv_node.environment.entry import Environment
from hostenv_node.environment.layout import PATH, Layout, Servers
from hostenv_node.environment.steps import File, UnitFiles
from hostenv_node.errors import OperationFailed
from hostenv_node.render.nginx import user_nginx
from hostenv_node.render.quoting import environment_file, php_string
from hostenv_node.render.template import filled, text
from hostenv_node.render.units import backup_script, units

CANDIDATE_VARIABLE = "HOSTENV_CANDIDATE"
"""The name of a release that runs, but is not served yet, in its environment."""


@dataclass(frozen=True)
class Rendered:
    """Everything below the home that is made from an entry, except data and code."""

    directories: tuple[str, ...]
    files: tuple[File, ...]
    unit_files: UnitFiles
    """By serving unit: the files that it must be restarted for."""


def render(environment: Environment, layout: Layout, config: Config) -> Rendered:
    """Everything except secrets.

    Raises OperationFailed when the node does not supply the application or a program.
    """
    if environment.application == "drupal" and "drupal" not in config.applications:
        raise OperationFailed("this node has no Drupal; name its folder in applications.drupal of node.json")
    unit_texts = units(environment, layout, config, PATH)
    files = [
        File(str(layout.config_dir / "nginx.conf"), user_nginx(environment, layout, config, layout.live)),
        File(str(layout.config_dir / "php-fpm.conf"), php_fpm(environment, layout, layout.live)),
        *_candidate(environment, layout, config),
        File(str(layout.config_dir / "my.cnf"), my_cnf(layout)),
        File(str(layout.config_dir / "client.cnf"), client_cnf(layout)),
        *_files(layout.units_dir, unit_texts, 0o644),
        *(
            File(str(layout.config_dir / f"backup-{key}"), backup_script(layout, config, key), 0o755)
            for key in environment.migrations
        ),
        *_files(layout.bin_dir, commands(environment, layout, config), 0o755),
    ]
    if environment.application == "drupal":
        files += [
            File(str(layout.config_dir / "settings.php"), drupal_settings(environment, layout), 0o600),
            File(str(layout.config_dir / "install_drupal.php"), text("install_drupal.php")),
            File(str(layout.config_dir / "rebuild_drupal.php"), text("rebuild_drupal.php")),
        ]
    if environment.authorized_keys:
        keys = "".join(f"{key}\n" for key in environment.authorized_keys)
        files.append(File(str(layout.home / ".ssh/authorized_keys"), keys, 0o600))
    return Rendered(
        directories=tuple(
            str(path)
            for path in (
                layout.home / ".ssh",
                layout.config_dir,
                layout.units_dir / "default.target.wants",
                *sorted({(layout.units_dir / name).parent for name in unit_texts if "/" in name}),
                layout.bin_dir,
                layout.state_dir,
                layout.app_dir,
                layout.cache_dir / "nginx",
                layout.cache_dir / "tmp",
                layout.sessions_dir,
            )
        ),
        files=tuple(files),
        unit_files={
            layout.mysql_unit: (
                str(layout.units_dir / layout.mysql_unit),
                str(layout.config_dir / "my.cnf"),
            ),
            layout.fpm_unit: (
                str(layout.units_dir / layout.fpm_unit),
                str(layout.config_dir / "php-fpm.conf"),
                str(layout.config_dir / "application.env"),
            ),
            layout.nginx_unit: (
                str(layout.units_dir / layout.nginx_unit),
                str(layout.config_dir / "nginx.conf"),
            ),
        },
    )


def release_name(environment: Environment, config: Config) -> str:
    """The release folder's name: the revision, and a digest of what else decides its content."""
    application = config.applications.get(environment.application)
    parts = [environment.nar_hash, environment.application, environment.docroot]
    parts += [] if application is None else [str(application.root), application.docroot]
    return f"{environment.rev}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]}"


def render_secrets(layout: Layout, secrets: Mapping[str, str]) -> tuple[File, ...]:
    """The files that hold secrets: of the backup, of the application, and the salt for command-line PHP.

    Raises OperationFailed when one that hostenv itself needs is missing.
    """
    missing = [key for key in (*BACKUP_SECRETS, HASH_SALT) if not secrets.get(key)]
    if missing:
        raise OperationFailed(
            f"the provider sent no {', '.join(missing)} for {layout.user}; see its secrets folder"
        )
    backup = {
        "RESTIC_REPOSITORY": secrets["backupUrl"],
        "RESTIC_REST_USERNAME": secrets["backupUser"],
        "RESTIC_REST_PASSWORD": secrets["backupPassword"],
        "RESTIC_PASSWORD": secrets["resticPassword"],
    }
    application = {variable_name(key): value for key, value in secrets.items() if key not in RESERVED}
    application["HOSTENV_HASH_SALT"] = secrets[HASH_SALT]
    return (
        File(str(layout.config_dir / "backup.env"), environment_file(backup), 0o600),
        File(str(layout.config_dir / "application.env"), environment_file(application), 0o600),
        File(str(layout.config_dir / "hash-salt"), secrets[HASH_SALT], 0o600),
    )


def _candidate(environment: Environment, layout: Layout, config: Config) -> tuple[File, ...]:
    """The servers by which the entry's release is checked before it is served."""
    name = release_name(environment, config)
    servers = layout.candidate(name)
    pool = php_fpm(environment, layout, servers) + f"env[{CANDIDATE_VARIABLE}] = {name}\n"
    server = user_nginx(environment, layout, config, servers)
    return (
        File(str(layout.config_dir / "candidate-nginx.conf"), server),
        File(str(layout.config_dir / "candidate-php-fpm.conf"), pool),
    )


def php_fpm(environment: Environment, layout: Layout, servers: Servers) -> str:
    """The environment's one pool."""
    return filled("php-fpm.conf", environment=environment, layout=layout, servers=servers)


def my_cnf(layout: Layout) -> str:
    """The database server: on a socket only; its redo log is small: every restore writes a new one."""
    return filled("my.cnf", layout=layout, max_packet=MAX_PACKET)


def client_cnf(layout: Layout) -> str:
    """Where the environment's own tools find its database; TLS on a Unix socket only costs time."""
    return filled("client.cnf", layout=layout, max_packet=MAX_PACKET)


def commands(environment: Environment, layout: Layout, config: Config) -> dict[str, str]:
    """The commands on the user's PATH (contract 8), by name."""
    client = f"--defaults-file={layout.config_dir}/client.cnf"
    rendered = {
        "mysql": (
            f'#!/bin/sh\nexec {config.tool("mariadb")} {client} --database={environment.codebase} "$@"\n'
        ),
        "mysqldump": (
            "#!/bin/sh\n"
            f'[ "$#" -gt 0 ] || set -- {environment.codebase}\n'
            f'exec {config.tool("mariadb-dump")} {client} --single-transaction --quick "$@"\n'
        ),
    }
    for key in environment.migrations:
        rendered[f"restic-{key}"] = (
            f"#!/bin/sh\nset -a\n. {layout.config_dir}/backup.env\nset +a\n"
            f'exec {config.tool("restic")} "$@"\n'
        )
    return rendered


def drupal_settings(environment: Environment, layout: Layout) -> str:
    """Drupal's settings.php: the project's own first, then what the node decides."""
    patterns = ["^" + host.replace(".", "[.]") + "$" for host in environment.virtual_hosts]
    return filled(
        "settings.php",
        database=php_string(environment.codebase),
        user=php_string(environment.user),
        socket=php_string(str(layout.mysql_socket)),
        hash_salt=php_string(f"{layout.config_dir}/hash-salt"),
        private_files=php_string(str(layout.private_files_dir)),
        temporary=php_string(f"{layout.cache_dir}/tmp"),
        config_sync=php_string(f"{layout.private_files_dir}/config_sync"),
        hosts="".join(f"{php_string(pattern)},\n" for pattern in patterns),
        candidate_variable=CANDIDATE_VARIABLE,
    )


def _files(directory: Path, texts: Mapping[str, str], mode: int) -> list[File]:
    return [File(str(directory / name), text, mode) for name, text in texts.items()]
