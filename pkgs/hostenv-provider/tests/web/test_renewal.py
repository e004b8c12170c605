"""What an operator does when secrets may be known: new accounts for all backups, or all of one node anew."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hostenv_core.errors import HostenvError
from hostenv_core.files import write_json
from hostenv_provider.cli import main
from hostenv_provider.config import PATH_VARIABLE
from hostenv_provider.plan.plan import Environment
from hostenv_provider.secrets.backup_accounts import BackupAccounts
from hostenv_provider.secrets.environment_secrets import EnvironmentSecrets

MakeEnvironment = Callable[..., Environment]


@dataclass
class Operator:
    """The command line beside the running service, and what the service knows."""

    api: Any
    user: str
    secrets: EnvironmentSecrets
    accounts: BackupAccounts
    output: pytest.CaptureFixture[str]

    def run(self, *words: str) -> str:
        assert main(words) == 0
        return self.output.readouterr().out

    def given(self, node: str) -> dict[str, str]:
        answer = self.api.get(f"/api/environments/{self.user}/secrets?node={node}", node)
        assert answer.status == 200, answer.body
        return dict(answer.json["secrets"])

    def knows(self, node: str, given: dict[str, str]) -> bool:
        return self.accounts.knows(self.user, node, given["backupPassword"])

    def keys(self) -> int:
        return len(list((self.api.config.backups_dir / self.user / "keys").iterdir()))


@pytest.fixture
def operator(
    api: Any,
    environment: MakeEnvironment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Operator:
    tools = ", ".join(f'"{name}": "{path}"' for name, path in api.config.tools.items())
    path = tmp_path / "provider.json"
    path.write_text(
        f'{{"dataDir": "{api.config.data_dir}", "socket": "{api.config.socket}", "user": "root",'
        f' "publicUrl": "http://provider", "tools": {{{tools}}}}}'
    )
    monkeypatch.setenv(PATH_VARIABLE, str(path))
    monkeypatch.setattr("hostenv_provider.cli.become_service_user", lambda _config: None)
    here = environment(node="node-a")
    api.provider.finish(api.provider.deploy(here), [here], "node-a")
    secrets = EnvironmentSecrets(api.config)
    return Operator(api, here.user_name, secrets, BackupAccounts(api.config, api.store, secrets), capsys)


def test_all_accounts_of_backups_change_with_one_command(operator: Operator) -> None:
    old = operator.given("node-a")
    assert operator.knows("node-a", old)
    operator.run("secrets", "rotate", "backups", "--dry-run")
    assert operator.knows("node-a", old)

    assert operator.run("secrets", "rotate", "backups").startswith("replaced: 1 accounts; ")

    assert not operator.knows("node-a", old)
    assert operator.keys() == 1, "the provider's own"
    new = operator.given("node-a")
    assert operator.knows("node-a", new)
    assert new["resticPassword"] != old["resticPassword"]
    assert new["hashSalt"] == old["hashSalt"]


def test_a_backup_under_way_goes_on_while_its_account_is_replaced(
    operator: Operator, environment: MakeEnvironment
) -> None:
    job = operator.api.provider.deploy(environment(node="node-b"))
    source, target = operator.given("node-a"), operator.given("node-b")
    operator.run("secrets", "rotate", "backups")
    assert operator.knows("node-a", source)
    assert operator.api.store.part("node-a", operator.user).writes_backups
    operator.api.provider.post(job, "node-a", "backup")
    operator.accounts.end_former()
    assert not operator.knows("node-a", source)
    assert operator.knows("node-b", target)


def test_what_all_nodes_shared_ends_too_but_not_under_way(
    operator: Operator, environment: MakeEnvironment
) -> None:
    path = operator.api.config.secrets_dir / f"{operator.user}.json"
    shared = dict.fromkeys(("backupUrl", "backupUser", "backupPassword", "resticPassword"), "1" * 64)

    def share() -> None:
        write_json(path, {**shared, "hashSalt": "2" * 64})

    share()
    operator.run("secrets", "rotate", "backups")
    assert operator.secrets.shared_account(operator.user) is None
    share()
    operator.api.provider.deploy(environment(node="node-b"))
    assert operator.user in operator.run("secrets", "rotate", "backups").splitlines()[-1]
    assert operator.secrets.shared_account(operator.user) is not None


def test_all_that_a_node_ever_had_is_listed_and_changed(operator: Operator) -> None:
    operator.secrets.set(operator.user, "API_KEY", "own")
    old, token = operator.given("node-a"), operator.api.tokens.show("node-a")
    listed = operator.run("node-compromised", "node-a", "--dry-run")
    assert f"{operator.user}: had its secrets from " in listed
    assert f"secrets set {operator.user} API_KEY" in listed
    assert operator.api.tokens.show("node-a") == token
    assert operator.knows("node-a", old)

    operator.run("node-compromised", "node-a")

    assert not operator.api.tokens.is_valid("node-a", token)
    assert not operator.knows("node-a", old)
    assert (operator.secrets.read(operator.user) or {})["hashSalt"] == old["hashSalt"]
    operator.run("node-compromised", "node-a", "--hash-salts")
    assert (operator.secrets.read(operator.user) or {})["hashSalt"] != old["hashSalt"]
    # With the token that the cleaned machine gets it is a node again.
    assert operator.knows("node-a", operator.given("node-a"))


def test_what_a_former_node_knew_is_changed_and_other_nodes_go_on(
    operator: Operator, environment: MakeEnvironment
) -> None:
    operator.given("node-a")
    there = environment(node="node-b")
    job = operator.api.provider.deploy(there)
    operator.api.provider.until_check(job)
    operator.api.provider.verify(job, operator.user)
    current, token = operator.given("node-b"), operator.api.tokens.show("node-b")
    assert "not there any more" in operator.run("node-compromised", "node-a", "--hash-salts")
    assert operator.knows("node-b", current)
    assert operator.api.tokens.show("node-b") == token
    assert operator.given("node-b")["hashSalt"] != current["hashSalt"]


@pytest.mark.parametrize("restic_program", [shutil.which("restic")])
def test_a_repository_whose_account_all_nodes_shared_is_not_lost(operator: Operator) -> None:
    """The node's holdings are of an earlier version, and nobody has an account of his own yet."""
    config, user = operator.api.config, operator.user
    shared = dict.fromkeys(("backupUrl", "backupUser", "backupPassword", "resticPassword"), "1" * 64)
    write_json(config.secrets_dir / f"{user}.json", {**shared, "hashSalt": "2" * 64})

    def restic(password: str, *arguments: str) -> int:
        environment = {**os.environ, "RESTIC_PASSWORD": password}
        repository = str(config.backups_dir / user)
        command = [config.tool("restic"), "--no-cache", "--repo", repository, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode

    assert restic("1" * 64, "init") == 0
    operator.api.store.hand_out("node-a", user)

    operator.run("node-compromised", "node-a")

    own = json.loads((config.backup_accounts_dir / f"{user}.json").read_text())["own"]
    assert restic(own["password"], "snapshots") == 0
    assert restic("1" * 64, "snapshots") != 0
    assert operator.secrets.shared_account(user) is None


def test_a_damaged_file_of_one_environment_keeps_no_other_account(
    operator: Operator, environment: MakeEnvironment
) -> None:
    other = environment("staging", node="node-a")
    operator.given("node-a")
    operator.api.store.renew_account("node-b", other.user_name)
    write_json(operator.api.config.backup_accounts_dir / f"{other.user_name}.json", {"nodes": []})
    operator.api.store.replace_accounts()
    with pytest.raises(HostenvError, match=f"{other.user_name}.json: nodes: must be an object: restore it"):
        operator.accounts.end_former()
    assert operator.keys() == 1
    assert operator.given("node-a")


def test_a_node_that_never_was_has_nothing(operator: Operator) -> None:
    assert main(["node-compromised", "node-z"]) == 1
    assert "nothing was ever given" in operator.output.readouterr().err
