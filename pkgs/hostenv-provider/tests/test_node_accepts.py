"""What the provider accepts at its limits every node accepts too, so that nothing is refused too late."""

from typing import Any

import pytest
from hostenv_core import names
from hostenv_core.errors import HostenvError, InvalidData
from hostenv_core.json_value import Value
from hostenv_node.environment import checks, entry
from hostenv_node.render import quoting
from hostenv_provider.config import Config
from hostenv_provider.plan import definitions
from hostenv_provider.plan.definitions import parse_environments
from hostenv_provider.plan.placement import make_plan
from hostenv_provider.plan.plan import Plan, Source, State
from hostenv_provider.plan.settings import ProviderSettings
from hostenv_provider.secrets.environment_secrets import MAX_VALUE, RESERVED, EnvironmentSecrets
from hostenv_provider.work import verify

SETTINGS = ProviderSettings.parse(
    {
        "hostenvHostname": "demo.hostenv.test",
        "nodeFor": {"default": "node-a"},
        "nodes": {"node-a": {"address": "::1"}},
    },
    "http://provider",
)
FULL: dict[str, Any] = {
    "type": "production",
    "application": {
        "name": "drupal",
        "docroot": "/".join(["d" * 255, "._-", "d" * 255]),
        "profile": "a" + "_9" * 31 + "z",
    },
    "virtualHosts": {".".join(["h" * 63] * 3 + ["a" * 61]): {}, "xn--9.example": {}, "9.9.example": {}},
    "users": {
        "ann": {
            "publicKeys": [
                f"{kind} AAAA+/== ~comment 'of' \"hers\""
                for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256", "sk-ssh-ed25519@openssh.com")
            ]
        }
    },
    "migrations": ["9" * 64, "a-_b"],
}


@pytest.mark.parametrize("length", [1, names.MAX_PROJECT_NAME])
def test_a_plan_at_its_limits(length: int) -> None:
    organisation, project = names.parse_input_name(f"{'o' * length}__{'p' * length}")
    definitions = parse_environments({"e" * 64: FULL, "9": {**FULL, "virtualHosts": {}}}, "flake.nix")
    source = Source("git+https://git.example.org/x", "main", "0a" * 20, "sha256-" + "A" * 43 + "=")

    plan, _, _ = make_plan(
        SETTINGS,
        organisation,
        project,
        definitions,
        dict.fromkeys(definitions, source),
        Plan.empty(SETTINGS),
        State.empty(),
        {},
    )

    for user, each in plan.environments.items():
        assert entry.parse_environment(each.to_json()).user == user


def test_longer_names_of_projects_are_refused() -> None:
    for name in (f"{'o' * 49}__p", f"o__{'p' * 49}"):
        with pytest.raises(HostenvError, match="48 letters and digits at most"):
            names.parse_input_name(name)
    assert names.parse_input_name(f"o__{'p-' * 31}") == ("o", "p" * 31)


@pytest.mark.parametrize("profile", ["my-profile", "9x", "_x", "X"])
def test_other_profiles_are_refused(profile: str) -> None:
    definition = {**FULL, "application": {"name": "drupal", "profile": profile}}
    with pytest.raises(InvalidData, match=r"environments\.main\.application"):
        parse_environments({"main": definition}, "flake.nix")


def test_secrets_at_their_limits(config: Config) -> None:
    secrets, user = EnvironmentSecrets(config), "drupal-main-2855093"
    secrets.set(user, "k" * 64, "x" * MAX_VALUE)
    secrets.set(user, "_k", "a \"'\\$`é\u2028 b")
    own = {key: value for key, value in (secrets.read(user) or {}).items() if key not in RESERVED}

    variables = {quoting.variable_name(key): value for key, value in own.items()}

    assert len(variables) == 2
    assert quoting.environment_file(variables).count("\n") == 2


@pytest.mark.parametrize("status", [199, 200, 201, 399, 400, 502])
@pytest.mark.parametrize("rule", ["minHttpStatus", "maxHttpStatus", "bodyContains"])
@pytest.mark.parametrize("body", ["", "201", "a page with é"])
def test_a_node_judges_an_answer_as_the_provider_does(status: int, rule: str, body: str) -> None:
    value: int | str = "é" if rule == "bodyContains" else 201
    constraints = [{"rule": rule, "value": value}]
    written = {"checks": [{"name": "page", "request": {"path": "/a?b"}, "constraints": constraints}]}
    (own,) = definitions.checks(Value(written, "flake", "$"))
    planned = {"name": "page", "request": {"virtualHost": None, "path": "/a?b"}, "constraints": constraints}
    (theirs,) = checks.parse_checks(Value({"checks": [planned]}, "plan"), "site.example")
    answer = verify.Answer(status, body.encode())
    assert checks.violation(theirs, status, answer.body) == verify.violation(own, answer)
    assert (theirs.host, theirs.path) == ("site.example", own.path)
