from typing import Any

import pytest
from hostenv_core.errors import InvalidData
from hostenv_provider.plan.definitions import parse_environments
from hostenv_provider.plan.settings import ProviderSettings

SETTINGS: dict[str, Any] = {
    "hostenvHostname": "demo.hostenv.test",
    "nodeFor": {"default": "node-a", "production": "node-b"},
    "nodes": {"node-a": {"address": "192.168.1.1"}, "node-b": {"address": "node-b"}},
    "environments": {"drupal-main-2855093": {"node": "node-a"}},
}
MAIN: dict[str, Any] = {"type": "production", "application": {"name": "php"}}


def refusal(environment: dict[str, Any], name: str = "main") -> str:
    with pytest.raises(InvalidData) as error:
        parse_environments({name: environment}, "demo__drupal")
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


def test_settings_are_read() -> None:
    settings = ProviderSettings.parse(SETTINGS, "http://provider")

    assert settings.nodes["node-a"].address == "192.168.1.1"
    assert settings.node_for == {"default": "node-a", "production": "node-b"}
    assert settings.placements == {"drupal-main-2855093": "node-a"}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"hostenvHostname": "a b"}, "$.hostenvHostname"),
        ({"hostenvHostname": None}, "$.hostenvHostname"),
        ({"nodes": {}}, "$.nodes"),
        ({"nodes": {"../a": {"address": "::1"}}}, "$.nodes"),
        ({"nodes": {"provider": {"address": "::1"}}}, "$.nodes"),
        ({"nodes": {"node-a": {"address": "1.2.3.4;x"}}}, "$.nodes.node-a.address"),
        ({"nodes": {"node-a": {}}}, "$.nodes.node-a"),
        ({"nodeFor": {"default": "node-c"}}, "$.nodeFor.default"),
        ({"nodeFor": {"production": "node-a"}}, "$.nodeFor"),
        ({"nodeFor": {"default": "node-a", "prod": "node-a"}}, "$.nodeFor"),
        (
            {"environments": {"drupal-main-2855093": {"node": "node-c"}}},
            "$.environments.drupal-main-2855093.node",
        ),
        ({"environments": {"root": {"node": "node-a"}}}, "$.environments"),
        ({"hostenvHostName": "x"}, "$: unknown key"),
    ],
)
def test_settings_are_refused_with_file_and_path(change: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidData, match=r"^provider\.json: ") as error:
        ProviderSettings.parse({**SETTINGS, **change}, "http://provider")

    assert place in str(error.value)
    assert "\n" not in str(error.value)


def test_as_many_environments_as_there_are_can_be_placed() -> None:
    nodes = {f"node-{number}": {"address": "::1"} for number in range(200)}
    placed = {f"drupal-main-{number:07x}": {"node": f"node-{number % 200}"} for number in range(10_000)}
    document = {**SETTINGS, "nodeFor": {"default": "node-0"}, "nodes": nodes, "environments": placed}

    settings = ProviderSettings.parse(document, "http://provider")

    assert len(settings.placements) == 10_000
    assert ProviderSettings.parse(settings.to_json(), "http://provider") == settings


@pytest.mark.parametrize("document", [None, [], "x", 1])
def test_settings_must_be_an_object(document: object) -> None:
    with pytest.raises(InvalidData, match="must be an object"):
        ProviderSettings.parse(document, "http://provider")


def test_an_environment_has_defaults() -> None:
    main = parse_environments({"main": MAIN}, "demo__drupal")["main"]

    assert main.enable
    assert main.git_ref == "main"
    assert main.application.docroot == "."
    assert main.virtual_hosts == {}
    assert main.checks == ()


def test_an_environment_is_read() -> None:
    check = {
        "name": "front page",
        "request": {"virtualHost": "a.example", "path": "/x?y=1"},
        "constraints": [{"rule": "minHttpStatus", "value": 200}, {"rule": "bodyContains", "value": "é"}],
    }
    main = parse_environments(
        {
            "main": {
                **MAIN,
                "enable": False,
                "gitRef": "release/1",
                "virtualHosts": {"a.example": {"enableACME": True}},
                "users": {"ann": {"email": "a@b.example", "publicKeys": ["ssh-ed25519 AAAA ann"]}},
                "migrations": ["drupal-migrate"],
                "deploymentVerification": {"checks": [check]},
            }
        },
        "demo__drupal",
    )["main"]

    assert (main.enable, main.git_ref, main.migrations) == (False, "release/1", ("drupal-migrate",))
    assert main.virtual_hosts["a.example"].enable_acme
    assert not main.virtual_hosts["a.example"].force_ssl
    assert main.users["ann"].public_keys == ("ssh-ed25519 AAAA ann",)
    assert main.checks[0].path == "/x?y=1"
    assert main.checks[0].constraints[0].value == 200


@pytest.mark.parametrize("name", ["../x", "a b", "a\nb", 'a"b', "a" * 300, "", "$(id)"])
def test_environment_names_are_refused(name: str) -> None:
    assert refusal(MAIN, name).startswith("demo__drupal: environments: ")


@pytest.mark.parametrize(
    "host", ["a;b.example", "a{b.example", "a b.example", "A.example", "a\n.example", "a" * 300]
)
def test_virtual_hosts_are_refused(host: str) -> None:
    assert "environments.main.virtualHosts: " in refusal({**MAIN, "virtualHosts": {host: {}}})


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"type": "prod"}, "environments.main.type"),
        ({"type": 1}, "environments.main.type"),
        ({"enable": "yes"}, "environments.main.enable"),
        ({"gitRef": "--upload-pack=x"}, "environments.main.gitRef"),
        ({"gitRef": "a\nb"}, "environments.main.gitRef"),
        ({"application": {"name": "perl"}}, "environments.main.application.name"),
        ({"application": {"name": "php", "docroot": "../../etc"}}, "environments.main.application.docroot"),
        ({"application": {"name": "php", "docroot": "/etc"}}, "environments.main.application.docroot"),
        ({"application": {"name": "php", "docroot": "a;b"}}, "environments.main.application.docroot"),
        ({"application": {"name": "drupal", "profile": "a/b"}}, "environments.main.application.profile"),
        *(
            ({"application": {"name": "drupal", "profile": profile}}, "environments.main.application")
            for profile in ("my-profile", "9x", "_x", "X")
        ),
        ({"virtualHosts": {"a.example": {"extraConfig": "x"}}}, "environments.main.virtualHosts.a.example"),
        (
            {"users": {"a": {"publicKeys": ["ssh-ed25519 AAAA\nssh-rsa x"]}}},
            "environments.main.users.a.publicKeys[0]",
        ),
        (
            {"users": {"a": {"publicKeys": ['command="x" ssh-rsa AAAA']}}},
            "environments.main.users.a.publicKeys[0]",
        ),
        ({"users": {"../a": {}}}, "environments.main.users"),
        ({"migrations": ["../x"]}, "environments.main.migrations[0]"),
        ({"migrations": ["a", "a"]}, "environments.main.migrations"),
        ({"migrations": {}}, "environments.main.migrations"),
        ({"migrations": ["m"] * 101}, "environments.main.migrations"),
        ({"deploymentVerification": {"checks": [{}]}}, "environments.main.deploymentVerification.checks[0]"),
        ({"node": "node-b"}, "environments.main: unknown key"),
    ],
)
def test_environments_are_refused_with_path(change: dict[str, Any], place: str) -> None:
    assert place in refusal({**MAIN, **change})


@pytest.mark.parametrize("path", ["x", "/a b", "/a\r\nHost: x", "http://x/"])
def test_request_paths_are_refused(path: str) -> None:
    check = {"name": "x", "request": {"path": path}, "constraints": []}

    assert "checks[0].request.path" in refusal({**MAIN, "deploymentVerification": {"checks": [check]}})


def test_a_name_that_is_no_branch_needs_a_git_reference() -> None:
    assert "gitRef is missing" in refusal(MAIN, "x.lock")
