"""From an environment's entry to the files that its user runs it with (contract 8). Pure."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from hostenv_node.config import Config
from hostenv_node.environment.database import MAX_PACKET
from hostenv_node.environment.entry import Environment
from hostenv_node.environment.layout import PATH, Layout, Servers
from hostenv_node.environment.steps import File, UnitFiles
from hostenv_node.errors import OperationFailed
from hostenv_node.render.nginx import user_nginx
from hostenv_node.render.quoting import environment_file, php_string, variable_name
from hostenv_node.render.units import backup_script, units

CANDIDATE_VARIABLE = "HOSTENV_CANDIDATE"
"""The name of a release that runs, but is not served yet, in its environment."""
_OWN_SECRETS = ("backupUrl", "backupUser", "backupPassword", "resticPassword", "hashSalt")


@dataclass(frozen=True)
class Rendered:
    """Everything below the home that is made from an entry, but data and code."""

    directories: tuple[str, ...]
    files: tuple[File, ...]
    unit_files: UnitFiles
    """By serving unit: the files that it must be restarted for."""


def render(environment: Environment, layout: Layout, config: Config) -> Rendered:
    """Everything but secrets.

    Raises OperationFailed when the node does not supply the application or a program.
    """
    if environment.application == "drupal" and "drupal" not in config.applications:
        raise OperationFailed("this node has no Drupal; name its folder in applications.drupal of node.json")
    unit_texts = units(environment, layout, config, PATH)
    files = [
        File(str(layout.config_dir / "nginx.conf"), user_nginx(environment, layout, layout.live)),
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
            File(str(layout.config_dir / "install_drupal.php"), helper("install_drupal.php")),
            File(str(layout.config_dir / "rebuild_drupal.php"), helper("rebuild_drupal.php")),
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
    missing = [key for key in _OWN_SECRETS if not secrets.get(key)]
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
    application = {variable_name(key): value for key, value in secrets.items() if key not in _OWN_SECRETS}
    application["HOSTENV_HASH_SALT"] = secrets["hashSalt"]
    return (
        File(str(layout.config_dir / "backup.env"), environment_file(backup), 0o600),
        File(str(layout.config_dir / "application.env"), environment_file(application), 0o600),
        File(str(layout.config_dir / "hash-salt"), secrets["hashSalt"], 0o600),
    )


def _candidate(environment: Environment, layout: Layout, config: Config) -> tuple[File, ...]:
    """What the entry's release is asked by before it is served."""
    name = release_name(environment, config)
    servers = layout.candidate(name)
    pool = php_fpm(environment, layout, servers) + f"env[{CANDIDATE_VARIABLE}] = {name}\n"
    return (
        File(str(layout.config_dir / "candidate-nginx.conf"), user_nginx(environment, layout, servers)),
        File(str(layout.config_dir / "candidate-php-fpm.conf"), pool),
    )


def php_fpm(environment: Environment, layout: Layout, servers: Servers) -> str:
    """The environment's one pool."""
    return f"""\
[global]
error_log = syslog
daemonize = no
; how long a reload lets a request go on
process_control_timeout = 10s

; not the project's name, which may be `global`
[{environment.user}]
listen = {servers.fpm_socket}
listen.mode = 0600
pm = dynamic
pm.max_children = 8
pm.start_servers = 1
pm.min_spare_servers = 1
pm.max_spare_servers = 3
catch_workers_output = yes
decorate_workers_output = no
; The unit's environment is the application's: database, files, the project's secrets.
clear_env = no
php_admin_flag[log_errors] = on
php_admin_value[error_log] = {servers.php_log}
php_admin_value[memory_limit] = 256M
php_admin_value[upload_max_filesize] = 64M
php_admin_value[post_max_size] = 64M
php_admin_value[upload_tmp_dir] = {layout.cache_dir}/tmp
php_admin_value[sys_temp_dir] = {layout.cache_dir}/tmp
; its age decides when a session goes; Debian's php.ini leaves that to a job of its own
php_value[session.save_path] = {layout.sessions_dir}
php_value[session.gc_probability] = 1
php_value[session.gc_divisor] = 100
php_value[session.gc_maxlifetime] = 1440
"""


def my_cnf(layout: Layout) -> str:
    """The database server: on a socket only; its redo log is small, for every restore writes a fresh one."""
    return f"""\
[mysqld]
datadir = {layout.mysql_dir}
socket = {layout.mysql_socket}
pid-file = {layout.runtime_dir}/mysql.pid
tmpdir = {layout.cache_dir}/tmp
skip-networking
skip-name-resolve
{SERVER_SIZES}"""


SERVER_SIZES = f"""\
innodb_log_file_size = 32M
innodb_buffer_pool_size = 128M
max_allowed_packet = {MAX_PACKET}
character-set-server = utf8mb4
# on an overloaded node a client may take longer than the default of 10 s
connect_timeout = 60
"""


def client_cnf(layout: Layout) -> str:
    """Where the environment's own tools find its database; TLS on a Unix socket only costs time."""
    return f"""\
[client]
socket = {layout.mysql_socket}
user = {layout.user}
skip-ssl
max_allowed_packet = {MAX_PACKET}
"""


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
    hosts = "".join(
        f"  {php_string('^' + host.replace('.', '[.]') + '$')},\n" for host in environment.virtual_hosts
    )
    return f"""\
<?php

$project_settings = $app_root . '/' . $site_path . '/settings.project.php';
if (is_readable($project_settings)) {{
  include $project_settings;
}}

$databases['default']['default'] = [
  'driver' => 'mysql',
  'namespace' => 'Drupal\\\\mysql\\\\Driver\\\\Database\\\\mysql',
  'autoload' => 'core/modules/mysql/src/Driver/Database/mysql/',
  'database' => {php_string(environment.codebase)},
  'username' => {php_string(environment.user)},
  'password' => '',
  'host' => 'localhost',
  'unix_socket' => {php_string(str(layout.mysql_socket))},
  'prefix' => '',
  'collation' => 'utf8mb4_general_ci',
  'isolation_level' => 'READ COMMITTED',
];
$settings['hash_salt'] = file_get_contents({php_string(f"{layout.config_dir}/hash-salt")});
$settings['file_public_path'] = 'sites/default/files';
$settings['file_private_path'] = {php_string(str(layout.private_files_dir))};
$settings['file_temp_path'] = {php_string(f"{layout.cache_dir}/tmp")};
$settings['config_sync_directory'] ??= {php_string(f"{layout.private_files_dir}/config_sync")};
$settings['trusted_host_patterns'] = [
{hosts}];
$settings['skip_permissions_hardening'] = TRUE;
$settings['update_free_access'] = FALSE;
$config['system.advisories']['enabled'] = FALSE;
$config['automated_cron.settings']['interval'] = 0;
if ($candidate = getenv('{CANDIDATE_VARIABLE}')) {{
  // The release that is served reads the caches in the database; this one must leave nothing in them.
  $settings['deployment_identifier'] = 'candidate-' . $candidate;
  $settings['cache']['default'] = 'cache.backend.memory';
  $settings['cache']['bins'] = array_fill_keys(
    ['bootstrap', 'config', 'discovery', ...array_keys($settings['cache']['bins'] ?? [])],
    'cache.backend.memory',
  );
}}
"""


def helper(name: str) -> str:
    """A PHP file of this package."""
    return resources.files("hostenv_node.render").joinpath("data", name).read_text(encoding="utf-8")


def _files(directory: Path, texts: Mapping[str, str], mode: int) -> list[File]:
    return [File(str(directory / name), text, mode) for name, text in texts.items()]
