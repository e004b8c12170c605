"""The environment's systemd user units and its backup script (contract 8). Pure."""

from hostenv_node.config import Config
from hostenv_node.environment.database import MARIADB_BACKUP, MAX_PACKET, counted_in_transactions
from hostenv_node.environment.entry import Environment
from hostenv_node.environment.layout import SYSTEM_UNIT_DIRS, Layout
from hostenv_node.render.template import filled


def units(environment: Environment, layout: Layout, config: Config, path: str) -> dict[str, str]:
    """File name below `~/.config/systemd/user` → text."""

    def unit(template: str, **values: object) -> str:
        return filled(template, environment=environment, layout=layout, tool=config.tool, path=path, **values)

    application = unit("application-unit.conf")
    return {
        layout.target_unit: unit("hostenv-environment.target"),
        layout.mysql_unit: unit("mysql.service"),
        layout.restore_unit: unit("mysql-restore.service", max_packet=MAX_PACKET),
        layout.fpm_unit: unit("phpfpm.service", application=application),
        layout.nginx_unit: unit("nginx.service"),
        layout.candidate_unit: unit("hostenv-candidate.service", application=application),
        **_freeze(layout),
        **{
            layout.backup_unit(key): unit("restic-backups.service", key=key) for key in environment.migrations
        },
    }


def _freeze(layout: Layout) -> dict[str, str]:
    """While the environment is frozen, none of the customer's units starts, not even after a reboot."""
    drop_in = "10-hostenv-freeze.conf"
    # Any of several may hold. Not conditions, of which a customer's unit may have several of its own.
    asserts = [f"!{layout.freeze_file}", *(f"{folder}/%n" for folder in SYSTEM_UNIT_DIRS)]
    text = "[Unit]\n" + "".join(f"AssertPathExists=|{path}\n" for path in asserts)
    # A unit's own drop-in of this name replaces that of its type.
    ours = (*layout.services, "restic-backups-.service")
    return {
        f"timer.d/{drop_in}": f"[Unit]\nConditionPathExists=!{layout.freeze_file}\n",
        **{f"{kind}.d/{drop_in}": text for kind in ("service", "path", "socket")},
        **{f"{unit}.d/{drop_in}": "# It runs while the environment is frozen, too.\n" for unit in ours},
    }


def backup_script(layout: Layout, config: Config, key: str) -> str:
    """Database, files and sessions in one snapshot, its tag the migration key.

    Sessions are copied first: readers end some of them while it runs, and restic fails if a file vanishes.
    """
    copies = layout.copies(key)
    return filled(
        "backup.sh",
        layout=layout,
        tool=config.tool,
        key=key,
        client=f"--defaults-file={layout.config_dir}/client.cnf",
        summary=layout.backup_summary(key),
        copies=copies,
        copies_in_data=copies.relative_to(layout.data_dir),
        sessions=layout.sessions_copy(key),
        base=layout.base(key),
        base_position=layout.base_position(key),
        dump=layout.dump(key),
        dump_wanted=layout.dump_wanted(key),
        # A configuration of an earlier version does not name it; the provider then asks for dumps.
        mariadb_backup=config.tools.get(MARIADB_BACKUP, MARIADB_BACKUP),
        by_transactions=counted_in_transactions(layout.codebase),
    )
