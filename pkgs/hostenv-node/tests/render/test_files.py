import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hostenv_node.config import Config
from hostenv_node.environment.entry import Environment, parse_environment
from hostenv_node.environment.layout import RUN_DIR, Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.render.files import release_name, render, render_secrets
from hostenv_node.render.nginx import default_server, front_door
from hostenv_node.render.quoting import environment_file, php_string
from runtime_support import needs, program

MAX_SOCKET_PATH = 107
"""`sockaddr_un` of Linux, without the byte that ends it."""

SECRETS = {
    "backupUrl": "rest:http://provider/backups/u/",
    "backupUser": "u",
    "backupPassword": "p$HOME`id`\"\\' #%",
    "resticPassword": "r",
    "hashSalt": "salt",
    "mail-password": "x y",
}


def written(environment: Environment, layout: Layout, config: Config) -> None:
    rendered = render(environment, layout, config)
    for directory in (*rendered.directories, layout.runtime_dir, layout.upstream_dir):
        Path(directory).mkdir(parents=True, exist_ok=True)
    for file in (*rendered.files, *render_secrets(layout, SECRETS)):
        Path(file.path).write_text(file.content)
        os.chmod(file.path, file.mode)


def checked(*argv: str | Path) -> str:
    completed = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


@needs("nginx")
@pytest.mark.parametrize("application", ["drupal", "php"])
def test_nginx_takes_the_environments_own_configuration(
    environment: Environment, layout: Layout, config: Config, application: str
) -> None:
    written(replace(environment, application=application), layout, config)
    checked(config.tool("nginx"), "-t", "-q", "-e", "stderr", "-c", layout.config_dir / "nginx.conf")


@needs("nginx")
def test_nginx_takes_the_front_door_of_many_environments(
    environment: Environment, layout: Layout, config: Config, tmp_path: Path
) -> None:
    servers = default_server(8099)
    for number in range(30):
        user = f"verylongname-environment-{number:07x}"
        hosts = (f"{user}.a-rather-long-domain.for.hosting.example",)
        servers += front_door(replace(environment, user=user, virtual_hosts=hosts), layout, 8099)
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; events {{}} http {{ server_names_hash_bucket_size 128;\n{servers} }}"
    )
    checked(config.tool("nginx"), "-t", "-q", "-e", "stderr", "-c", tmp_path / "nginx.conf")


@needs("php-fpm", "php-fpm8.2", "php-fpm8.4")
@pytest.mark.parametrize("codebase", ["drupal", "global"])
def test_php_fpm_takes_its_pool(
    environment: Environment, layout: Layout, config: Config, codebase: str
) -> None:
    environment, layout = replace(environment, codebase=codebase), replace(layout, codebase=codebase)
    written(environment, layout, config)
    argv = [config.tool("php-fpm"), "--test", "--fpm-config", str(layout.config_dir / "php-fpm.conf")]
    if os.geteuid() == 0:
        argv.append("--allow-to-run-as-root")
    completed = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    # As root it wants to know as whom the workers are to run; on a node it never is root.
    complaint = "'user' directive has not been specified"
    assert completed.returncode == 0 or (os.geteuid() == 0 and complaint in completed.stderr), (
        completed.stderr
    )


@needs("php")
def test_sessions_go_with_their_age_and_php_sees_to_it(
    environment: Environment, layout: Layout, config: Config
) -> None:
    written(environment, layout, config)
    pool = (layout.config_dir / "php-fpm.conf").read_text()
    settings = re.findall(r"php_value\[(session\.\w+)\] = (.+)", pool)
    old, young = layout.sessions_dir / "sess_old", layout.sessions_dir / "sess_young"
    for path in (old, young):
        path.touch()
    os.utime(old, (0, 0))
    show = "session_start(); session_gc(); echo ini_get('session.gc_probability');"
    options = [word for name, value in settings for word in ("-d", f"{name}={value}")]
    chance = checked(config.tool("php"), "-d", "session.gc_probability=0", *options, "-r", show)
    assert int(chance) > 0
    assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.parametrize("codebase", ["mysql", "restore", "nginx", "in", "a" * 48])
def test_no_projects_name_makes_two_sockets_one_or_one_too_long(layout: Layout, codebase: str) -> None:
    layout = replace(layout, user="elevenchars-elevenchars-0123456", codebase=codebase, run_dir=RUN_DIR)
    sockets = [layout.fpm_socket, layout.mysql_socket, layout.restore_socket, layout.upstream_socket]
    assert len(set(sockets)) == len(sockets)
    assert all(len(str(path)) <= MAX_SOCKET_PATH for path in sockets)


@needs("mariadbd")
def test_mariadb_takes_its_options(environment: Environment, layout: Layout, config: Config) -> None:
    written(environment, layout, config)
    defaults = f"--defaults-file={layout.config_dir}/my.cnf"
    options = checked(config.tool("mariadbd"), defaults, "--user=root", "--verbose", "--help")
    assert str(layout.mysql_socket) in options
    values = dict(line.split(maxsplit=1) for line in options.splitlines() if len(line.split()) == 2)
    assert values["skip-networking"] == "TRUE"
    # the default of 10 s is too short for a client on a node with too much to do
    assert values["connect-timeout"] == "60"


@needs("mariadbd")
def test_mariadb_is_not_on_the_network_while_data_are_restored_either(
    environment: Environment, layout: Layout, config: Config
) -> None:
    written(environment, layout, config)
    unit = (layout.units_dir / layout.restore_unit).read_text().replace("\\\n", "")
    command = next(line for line in unit.splitlines() if line.startswith("ExecStart=")).split()
    options = checked(config.tool("mariadbd"), *command[1:], "--user=root", "--verbose", "--help")
    assert str(layout.restore_socket) in options
    values = dict(line.split(maxsplit=1) for line in options.splitlines() if len(line.split()) == 2)
    assert values["skip-networking"] == "TRUE"
    # the default of 10 s is too short for a client on a node with too much to do
    assert values["connect-timeout"] == "60"


@needs("mariadb")
def test_no_client_pays_for_tls_on_the_socket(
    environment: Environment, layout: Layout, config: Config
) -> None:
    """MariaDB's clients ask for TLS by default since 11.4: four times the time of a connection."""
    written(environment, layout, config)
    units = (layout.units_dir / layout.mysql_unit).read_text().replace("\\\n", "")
    stop = next(line for line in units.splitlines() if line.startswith("ExecStop=-")).split()[1:]
    for options in ([f"--defaults-file={layout.config_dir}/client.cnf"], stop[:-1]):
        shown = checked(config.tool("mariadb"), *options, "--help", "--verbose")
        assert re.search(r"^ssl +FALSE$", shown, re.MULTILINE)


@needs("php")
def test_drupals_settings_are_what_php_reads(
    environment: Environment, layout: Layout, config: Config, tmp_path: Path
) -> None:
    written(environment, layout, config)
    show = tmp_path / "show.php"
    show.write_text(
        "<?php $app_root = $argv[1]; $site_path = 'none'; $databases = $settings = $config = [];"
        f" require '{layout.config_dir}/settings.php';"
        " echo $settings['hash_salt'], ' ', $databases['default']['default']['namespace'], ' ';"
        " foreach (['demo.hostenv.local', 'demoxhostenv.local', 'evil.example'] as $host) {"
        "   echo (int) preg_match('{' . implode('|', $settings['trusted_host_patterns']) . '}i', $host); }"
    )
    assert checked(config.tool("php"), show, tmp_path) == "salt Drupal\\mysql\\Driver\\Database\\mysql 100"


@needs("php")
@pytest.mark.parametrize("value", ["it's", "\\", "\\'", "a\\\\b'", "$x {$y}", ""])
def test_php_reads_back_every_literal(value: str) -> None:
    assert checked(program("php", "php"), "-r", f"echo {php_string(value)};") == value


def test_a_shell_reads_back_every_secret(layout: Layout, tmp_path: Path) -> None:
    file = next(file for file in render_secrets(layout, SECRETS) if file.path.endswith("backup.env"))
    (tmp_path / "env").write_text(file.content)
    shown = checked("/bin/sh", "-c", '. "$1"; printf %s "$RESTIC_REST_PASSWORD"', "sh", tmp_path / "env")
    assert shown == SECRETS["backupPassword"]
    assert file.mode == 0o600


def test_the_application_sees_its_own_secrets_and_none_of_the_backups(layout: Layout) -> None:
    application = next(file for file in render_secrets(layout, SECRETS) if "application.env" in file.path)
    assert application.content == 'HOSTENV_HASH_SALT="salt"\nHOSTENV_SECRET_MAIL_PASSWORD="x y"\n'


def test_a_line_break_in_a_secret_is_refused() -> None:
    with pytest.raises(OperationFailed, match="NAME"):
        environment_file({"NAME": "a\nLD_PRELOAD=b"})


def test_a_missing_secret_is_named(layout: Layout) -> None:
    with pytest.raises(OperationFailed, match="resticPassword"):
        render_secrets(layout, {key: value for key, value in SECRETS.items() if key != "resticPassword"})


def test_every_migration_key_has_its_unit_and_its_command(
    layout: Layout, config: Config, changed: Any
) -> None:
    keys = ["drupal-migrate", "nightly"]
    rendered = render(parse_environment(changed("migrations", to=keys)), layout, config)
    paths = {file.path for file in rendered.files}
    for key in keys:
        assert f"{layout.units_dir}/restic-backups-{key}.service" in paths
        assert f"{layout.bin_dir}/restic-{key}" in paths


def test_no_timer_starts_while_the_environment_is_frozen(
    environment: Environment, layout: Layout, config: Config
) -> None:
    rendered = render(environment, layout, config)
    drop_in = next(file for file in rendered.files if file.path.startswith(f"{layout.units_dir}/timer.d/"))
    assert drop_in.content == f"[Unit]\nConditionPathExists=!{layout.freeze_file}\n"
    assert str(Path(drop_in.path).parent) in rendered.directories


def test_no_unit_of_the_customers_starts_while_the_environment_is_frozen(
    environment: Environment, layout: Layout, config: Config
) -> None:
    rendered = render(environment, layout, config)
    texts = {
        str(Path(file.path).relative_to(layout.units_dir)): file.content
        for file in rendered.files[3:]
        if file.path.startswith(f"{layout.units_dir}/")
    }
    for kind in ("service", "path", "socket"):
        assert f"AssertPathExists=|!{layout.freeze_file}\n" in texts[f"{kind}.d/10-hostenv-freeze.conf"]
    ours = {name for name in texts if name.endswith(".service") and not name.startswith("restic-")}
    for unit in (*ours, "restic-backups-.service"):
        assert "Assert" not in texts[f"{unit}.d/10-hostenv-freeze.conf"]
        assert f"{layout.units_dir}/{unit}.d" in rendered.directories


def test_people_with_a_key_may_log_in(layout: Layout, config: Config, changed: Any) -> None:
    key = "ssh-ed25519 AAAAC3Nz demo user"
    rendered = render(parse_environment(changed("authorizedKeys", to=[key])), layout, config)
    file = next(file for file in rendered.files if file.path == f"{layout.home}/.ssh/authorized_keys")
    assert (file.content, file.mode) == (f"{key}\n", 0o600)


def test_a_node_without_drupal_says_so(environment: Environment, layout: Layout, config: Config) -> None:
    with pytest.raises(OperationFailed, match=r"applications\.drupal"):
        render(environment, layout, replace(config, applications={}))


def test_what_decides_a_releases_content_decides_its_name(
    environment: Environment, config: Config, changed: Callable[..., Any]
) -> None:
    names = {
        release_name(parse_environment(made), config)
        for made in (
            changed("application", "docroot", to="public"),
            changed("repo", "rev", to="b" * 40),
            changed("repo", "narHash", to="sha256-" + "B" * 43 + "="),
        )
    }
    assert len(names | {release_name(environment, config)}) == 4
    vhost = parse_environment(changed("virtualHosts", to={"other.example": {}}))
    assert release_name(vhost, config) == release_name(environment, config)


def test_a_path_that_needs_quoting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OperationFailed):
        Layout("u", 1002, "c", tmp_path / "a b", tmp_path / "f")
