from collections.abc import Callable
from typing import Any

import pytest
from hostenv_node.environment.entry import parse_environment
from hostenv_node.environment.layout import job_name
from hostenv_node.errors import OperationFailed
from runtime_support import HOST, entry


def test_the_canonical_host_is_served_beside_the_others() -> None:
    assert parse_environment(entry()).virtual_hosts == ("demo.hostenv.local", HOST)


def test_a_php_project_may_serve_its_top(changed: Callable[..., Any]) -> None:
    environment = parse_environment(changed("application", to={"name": "php"}))
    assert (environment.docroot, environment.profile) == (".", "minimal")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("hostenv", "userName"), "../root"),
        (("hostenv", "userName"), "a b"),
        (("hostenv", "hostname"), "x; }"),
        (("hostenv", "project"), "drupal`"),
        (("virtualHosts",), {"a.example;\n": {}}),
        (("virtualHosts",), {"{": {}}),
        (("virtualHosts",), {"x" * 300: {}}),
        (("virtualHosts",), ["a.example"]),
        (("application", "docroot"), "../etc"),
        (("application", "docroot"), "web/../.."),
        (("application", "docroot"), "/etc"),
        (("application", "docroot"), "web;"),
        (("application", "name"), "perl"),
        (("application", "profile"), "x'y"),
        (("migrations",), ["--all"]),
        (("migrations",), "drupal-migrate"),
        (("authorizedKeys",), ["ssh-ed25519 AAAA x\nssh-rsa BBBB"]),
        (("authorizedKeys",), ['command="id" ssh-ed25519 AAAA']),
        (("repo", "rev"), "main"),
        (("repo", "narHash"), None),
        (("uid",), 0),
        (("uid",), True),
        (("uid",), "1002"),
    ],
)
def test_what_could_mean_something_else_in_a_configuration_file_is_refused(
    changed: Callable[..., Any], path: tuple[str, ...], value: object
) -> None:
    with pytest.raises(OperationFailed):
        parse_environment(changed(*path, to=value))


@pytest.mark.parametrize("job", ["", "../x", "a/b", ".", "-x", "a" * 65])
def test_a_job_id_cannot_name_a_folder_elsewhere(job: str) -> None:
    with pytest.raises(OperationFailed):
        job_name(job)
