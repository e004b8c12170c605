"""What the provider accepts at its limits every node accepts too, so that nothing is refused too late."""

from typing import Any

import pytest
from hostenv_core import names
from hostenv_core.secret_names import RESERVED, variable_name
from hostenv_node.environment import entry
from hostenv_node.render import quoting
from hostenv_provider.config import Config
from hostenv_provider.plan.definitions import parse_environments
from hostenv_provider.plan.placement import make_plan
from hostenv_provider.plan.plan import Plan, Source, State
from hostenv_provider.plan.settings import ProviderSettings
from hostenv_provider.secrets.environment_secrets import MAX_VALUE, EnvironmentSecrets

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


def test_secrets_at_their_limits(config: Config) -> None:
    secrets, user = EnvironmentSecrets(config), "drupal-main-2855093"
    secrets.set(user, "k" * 64, "x" * MAX_VALUE)
    secrets.set(user, "_k", "a \"'\\$`é\u2028 b")
    own = {key: value for key, value in (secrets.read(user) or {}).items() if key not in RESERVED}

    variables = {variable_name(key): value for key, value in own.items()}

    assert len(variables) == 2
    assert quoting.environment_file(variables).count("\n") == 2
