"""The environment's systemd user units and its backup script (contract 8). Pure."""

from hostenv_node.config import Config
from hostenv_node.environment.database import MAX_PACKET, counted_in_transactions
from hostenv_node.environment.entry import Environment
from hostenv_node.environment.layout import SYSTEM_UNIT_DIRS, Layout


def units(environment: Environment, layout: Layout, config: Config, path: str) -> dict[str, str]:
    """File name below `~/.config/systemd/user` → text."""
    application = f"""\
Environment=PATH={path}
Environment=HOSTENV_DB_SOCKET={layout.mysql_socket}
Environment=HOSTENV_DB_NAME={environment.codebase}
Environment=HOSTENV_DB_USER={environment.user}
Environment=HOSTENV_FILES_DIR={layout.files_dir}
EnvironmentFile={layout.config_dir}/application.env
"""
    rendered = {
        layout.target_unit: f"""\
[Unit]
Description=hostenv environment {environment.user}
Wants={layout.mysql_unit} {layout.fpm_unit} {layout.nginx_unit}

[Install]
WantedBy=default.target
""",
        # MariaDB 11.8 that is told to end while it starts may hang, and then hears nothing but SIGKILL;
        # InnoDB recovers. One that works on its end has systemd wait longer by itself (EXTEND_TIMEOUT_USEC).
        layout.mysql_unit: f"""\
[Unit]
Description=MariaDB of {environment.user}
PartOf={layout.target_unit}

[Service]
Type=notify
ExecStart={config.tool("mariadbd")} --defaults-file={layout.config_dir}/my.cnf
ExecStop=-{config.tool("mariadb")} --no-defaults --socket={layout.mysql_socket} --user={layout.user} \\
  --skip-ssl --connect-timeout=10 --execute=SHUTDOWN
Restart=on-failure
RestartSec=2
TimeoutStartSec=10min
TimeoutStopSec=1min
UMask=0077
NoNewPrivileges=yes
""",
        # What runs here is thrown away unless it ends well, by its own SHUTDOWN: nothing is flushed on the
        # way, and whoever else stops it kills it.
        layout.restore_unit: f"""\
[Unit]
Description=MariaDB of {environment.user} on the data being restored

[Service]
Type=notify
ExecStart={config.tool("mariadbd")} --no-defaults --datadir={layout.restore_dir}/mysql \\
  --socket={layout.restore_socket} --pid-file={layout.runtime_dir}/restore.pid \\
  --tmpdir={layout.cache_dir}/tmp --skip-networking --skip-name-resolve \\
  --innodb-log-file-size=32M --innodb-buffer-pool-size=128M --innodb-flush-log-at-trx-commit=0 \\
  --innodb-doublewrite=0 --max-allowed-packet={MAX_PACKET} --character-set-server=utf8mb4 \\
  --connect-timeout=60
TimeoutStartSec=10min
KillSignal=SIGKILL
UMask=0077
NoNewPrivileges=yes
""",
        layout.fpm_unit: f"""\
[Unit]
Description=PHP-FPM of {environment.user}
PartOf={layout.target_unit}
After={layout.mysql_unit}

[Service]
Type=notify
{application}\
ExecStart={config.tool("php-fpm")} --nodaemonize --fpm-config {layout.config_dir}/php-fpm.conf
ExecReload=/bin/sh -c "kill -USR2 $MAINPID"
Restart=on-failure
RestartSec=2
TimeoutStartSec=5min
UMask=0077
NoNewPrivileges=yes
""",
        layout.nginx_unit: f"""\
[Unit]
Description=nginx of {environment.user}
PartOf={layout.target_unit}
After={layout.fpm_unit}

[Service]
Type=forking
PIDFile={layout.nginx_pid_file}
Environment=PATH={path}
ExecStartPre=/bin/sh -c "rm -f {layout.upstream_socket}"
ExecStart={config.tool("nginx")} -e stderr -c {layout.config_dir}/nginx.conf
ExecReload=/bin/sh -c "kill -HUP $MAINPID"
Restart=on-failure
RestartSec=2
TimeoutStartSec=5min
KillMode=mixed
KillSignal=SIGQUIT
TimeoutStopSec=35
UMask=0007
NoNewPrivileges=yes
""",
        # Whatever becomes of who started it, it ends by itself.
        layout.candidate_unit: f"""\
[Unit]
Description=A new release of {environment.user} that is not served yet
After={layout.mysql_unit}

[Service]
Type=notify
{application}\
ExecStartPre=/bin/sh -c "rm -f {layout.runtime_dir}/candidate* {layout.candidate_log}"
ExecStart={config.tool("php-fpm")} --nodaemonize --fpm-config {layout.config_dir}/candidate-php-fpm.conf
ExecStartPost={config.tool("nginx")} -e stderr -c {layout.config_dir}/candidate-nginx.conf
TimeoutStartSec=1min
TimeoutStopSec=10
RuntimeMaxSec=5min
UMask=0077
NoNewPrivileges=yes
""",
        **_freeze(layout),
    }
    for key in environment.migrations:
        rendered[layout.backup_unit(key)] = f"""\
[Unit]
Description=Backup {key} of {environment.user}
Requires={layout.mysql_unit}
After={layout.mysql_unit}

[Service]
Type=oneshot
Environment=PATH={path}
EnvironmentFile={layout.config_dir}/backup.env
ExecStart={layout.config_dir}/backup-{key}
TimeoutStartSec=infinity
UMask=0077
NoNewPrivileges=yes
"""
    return rendered


def _freeze(layout: Layout) -> dict[str, str]:
    """While the environment is frozen nothing of the customer's starts, also over a reboot."""
    drop_in = "10-hostenv-freeze.conf"
    # Any of several may hold. Not conditions, of which a customer's unit may have several of its own.
    asserts = [f"!{layout.freeze_file}", *(f"{folder}/%n" for folder in SYSTEM_UNIT_DIRS)]
    text = "[Unit]\n" + "".join(f"AssertPathExists=|{path}\n" for path in asserts)
    # A unit's own drop-in of this name takes the place of its type's.
    ours = (*layout.services, "restic-backups-.service")
    return {
        f"timer.d/{drop_in}": f"[Unit]\nConditionPathExists=!{layout.freeze_file}\n",
        **{f"{kind}.d/{drop_in}": text for kind in ("service", "path", "socket")},
        **{f"{unit}.d/{drop_in}": "# It runs while the environment is frozen, too.\n" for unit in ours},
    }


def backup_script(layout: Layout, config: Config, key: str) -> str:
    """Database, files and sessions in one snapshot, its tag the migration key.

    Sessions are copied first: readers end some while it runs, and restic fails for a file that vanishes.
    """
    summary = layout.backup_summary(key)
    dump, sessions = layout.dump(key), layout.sessions_copy(key)
    client = f"--defaults-file={layout.config_dir}/client.cnf"
    return f"""\
#!/bin/sh
set -eu
exec 2>{summary}.errors
export RESTIC_PROGRESS_FPS=0.02
rm -rf {summary} {sessions}
mkdir -p {dump.parent} {layout.sessions_dir} {layout.files_dir} {layout.private_files_dir}
trap 'rm -rf {dump} {sessions}' EXIT
cp -a {layout.sessions_dir} {sessions} || true
# mariadb-dump refuses the history of these, and then the whole dump; it has the option since 10.11.
by_transactions=$({config.tool("mariadb")} {client} --connect-timeout=30 --batch --skip-column-names \\
  --execute="{counted_in_transactions(layout.codebase)}")
history=--loose-dump-history
[ -z "$by_transactions" ] || history=
{config.tool("mariadb-dump")} {client} --single-transaction --quick --skip-add-locks $history \\
  --routines --events --default-character-set=utf8mb4 --add-drop-database \\
  --databases {layout.codebase} >{dump}
cd {layout.data_dir}
{config.tool("restic")} backup --json --tag {key} \\
  {dump.relative_to(layout.data_dir)} {sessions.relative_to(layout.data_dir)} \\
  {layout.files_dir.name} {layout.private_files_dir.name} >{summary}.new
mv {summary}.new {summary}
"""
