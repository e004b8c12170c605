"""A new release is asked by its own nginx and PHP-FPM, really running, before anybody is served by it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hostenv_core.processes import run
from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment.entry import Environment, parse_environment
from hostenv_node.environment.layout import Layout
from hostenv_node.errors import OperationFailed
from hostenv_node.render.files import release_name, render
from hostenv_node.runtime.sequences import change
from hostenv_node.user import candidate
from hostenv_node.user.process import UserProcess
from runtime_support import TOOLS, entry, needs

pytestmark = [needs("nginx"), needs(*TOOLS["php-fpm"])]

# What the unit does; as root, PHP-FPM and nginx want to be told who they are.
_SYSTEMCTL = """#!/bin/sh
set -e
echo "$*" >>{folder}/asked
stop() {{
  for pid in {folder}/fpm.pid {run}/candidate.pid; do
    [ ! -s $pid ] || kill $(cat $pid)
    rm -f $pid
  done
}}
case "$*" in
*restart*)
  stop
  rm -f {run}/candidate-*
  sed "s/^listen = /{user}&/" {config}/candidate-php-fpm.conf >{folder}/php-fpm.conf
  {fpm} --daemonize {root} --pid {folder}/fpm.pid --fpm-config {folder}/php-fpm.conf >{folder}/fpm.log 2>&1
  {nginx} -e {folder}/nginx.log {switch} -c {config}/candidate-nginx.conf >>{folder}/nginx.log 2>&1
  ;;
*stop*) stop ;;
esac
"""


@pytest.fixture
def php(changed: Callable[..., Any]) -> Environment:
    return parse_environment(changed("application", to={"name": "php", "docroot": "web"}))


@pytest.fixture
def place(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    made = replace(layout, run_dir=tmp_path_factory.mktemp("r"))
    for folder in (made.config_dir, made.cache_dir / "nginx", made.cache_dir / "tmp", made.state_dir):
        folder.mkdir(parents=True)
    made.runtime_dir.mkdir(parents=True)
    return made


@pytest.fixture
def process(
    config: Config, place: Layout, php: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[UserProcess]:
    folder = tmp_path_factory.mktemp("s")
    systemctl = folder / "systemctl"
    root = os.geteuid() == 0
    systemctl.write_text(
        _SYSTEMCTL.format(
            folder=folder,
            run=place.runtime_dir,
            config=place.config_dir,
            fpm=config.tool("php-fpm"),
            nginx=config.tool("nginx"),
            user="user = root\\n" if root else "",
            root="--allow-to-run-as-root" if root else "",
            switch="-g 'user root;'" if root else "",
        )
    )
    systemctl.chmod(0o755)
    for file in render(php, place, config).files:
        if Path(file.path).name.startswith("candidate-"):
            Path(file.path).write_text(file.content)
    yield UserProcess(place, {**config.tools, "systemctl": str(systemctl)}, Deadline.after(60))
    run([str(systemctl), "stop"], timeout=60)


@pytest.fixture
def release(place: Layout, php: Environment, config: Config) -> Callable[..., str]:
    def write(page: str) -> str:
        name = release_name(php, config)
        (place.release(name) / "public").mkdir(parents=True)
        (place.release(name) / "public/index.php").write_text(page)
        return name

    return write


def check(process: UserProcess, name: str, application: str = "php", *checks: dict[str, Any]) -> None:
    document = {**entry(), "deploymentVerification": {"checks": list(checks)}}
    environment = parse_environment(document)
    candidate.check(process, name, environment.hostname, environment.checks, application)


def stopped(process: UserProcess) -> bool:
    asked = Path(process.tools["systemctl"]).with_name("asked").read_text().splitlines()
    last = asked[-1].endswith(f"stop {process.layout.candidate_unit}")
    return last and not (process.layout.runtime_dir / "candidate.pid").exists()


def test_a_release_that_answers_well_is_let_through(
    process: UserProcess, release: Callable[..., str]
) -> None:
    page = "<?php echo $_SERVER['HTTP_HOST'], ' ', getenv('HOSTENV_CANDIDATE'), $_SERVER['REQUEST_URI'];"
    name = release(page)
    host = entry()["hostenv"]["hostname"]
    check(process, name)
    for path, text in (("/", f"{host} {name}/"), ("/a?b=1", f"{host} {name}/a?b=1")):
        constraint = {"rule": "bodyContains", "value": text}
        request = {"virtualHost": None, "path": path}
        check(process, name, "php", {"name": "page", "request": request, "constraints": [constraint]})
    assert stopped(process)


def test_a_parse_error_is_refused_with_phps_own_words(
    process: UserProcess, release: Callable[..., str]
) -> None:
    name = release("<?php this is no PHP")
    with pytest.raises(OperationFailed) as error:
        check(process, name)
    said = str(error.value)
    assert "front page (drupal-main-2855093.demo.hostenv.test/): maxHttpStatus 399" in said
    assert "status 500; PHP Parse error:  syntax error" in said
    assert "\n" not in said
    assert stopped(process)


def test_the_project_s_own_check_decides(process: UserProcess, release: Callable[..., str]) -> None:
    name = release("<?php http_response_code(404); echo 'maintenance';")
    request = {"virtualHost": "demo.hostenv.local", "path": "/"}
    low = {"rule": "maxHttpStatus", "value": 404}
    check(process, name, "php", {"name": "a", "request": request, "constraints": [low]})
    text = {"rule": "bodyContains", "value": "articles"}
    with pytest.raises(OperationFailed, match=r"b .demo.hostenv.local/.: bodyContains 'articles' is not met"):
        check(process, name, "php", {"name": "b", "request": request, "constraints": [low, text]})


def test_silence_is_waited_for(
    process: UserProcess, release: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = "<?php $f = __DIR__ . '/asked'; $n = @file_get_contents($f) + 1; file_put_contents($f, $n);"
    name = release(page + " http_response_code($n < 6 ? 503 : 200);")
    monkeypatch.setattr(candidate, "_PAUSE_SECONDS", 0)
    check(process, name)
    monkeypatch.setattr(candidate, "_PATIENCE_SECONDS", 0)
    (process.layout.release(name) / "public/asked").write_text("0")
    with pytest.raises(OperationFailed, match="status 503"):
        check(process, name)


@pytest.mark.parametrize(
    ("drush", "through"),
    [
        ('echo \'{"node_update_9001": {"module": "node"}}\';', True),
        ("echo '[]';", False),
        ("", False),
        ("exit(1);", False),
        (None, False),
    ],
)
def test_a_drupal_whose_database_waits_for_updates_is_let_through(
    process: UserProcess, release: Callable[..., str], place: Layout, drush: str | None, through: bool
) -> None:
    name = release("<?php http_response_code(500);")
    if drush is not None:
        script = place.release(name) / "public/vendor/bin/drush"
        script.parent.mkdir(parents=True)
        script.write_text(f"<?php if (in_array('updatedb-status', $argv)) {{ {drush} }}")
    if through:
        check(process, name, "drupal")
    else:
        with pytest.raises(OperationFailed, match="status 500"):
            check(process, name, "drupal")
    assert stopped(process)


def test_it_is_asked_before_it_is_activated_and_only_when_the_code_is_new(
    config: Config, environment: Environment, layout: Layout
) -> None:
    rendered = render(environment, layout, config)

    def names(*, update: bool) -> list[str]:
        asked = change(environment, layout, rendered, "release", update=update)
        return [type(step).__name__ for step in asked]

    before, after = ["EnsureDatabase"], ["ActivateRelease", "StartUnits", "PrepareApplication"]
    assert names(update=True) == [*before, "CheckCandidate", *after]
    assert names(update=False) == [*before, *after]
