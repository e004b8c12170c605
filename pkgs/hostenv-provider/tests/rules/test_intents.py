from dataclasses import replace

import pytest
from hostenv_core.errors import HostenvError
from hostenv_core.intents import Action
from hostenv_provider.plan.definitions import Application
from hostenv_provider.plan.plan import Environment, Source
from hostenv_provider.rules.intents import Deployed, derive_actions, verify_actions

Short = dict[str, list[tuple[str, str | None, str | None, tuple[str, ...]]]]
MIGRATIONS = ("drupal-migrate",)


def environment(node: str, name: str = "main", **changes: object) -> Environment:
    base = Environment(
        organisation="demo",
        project="drupal",
        name=name,
        enable=True,
        type="production",
        node=node,
        previous_node=None,
        uid=1002,
        migrations=MIGRATIONS,
        application=Application("php", "web"),
        virtual_hosts={},
        users={},
        checks=(),
        source=Source("git+file:///srv/project", "main", "a" * 40, "sha256-x"),
        hostenv_hostname="demo.hostenv.test",
        backups_repo_host="http://provider/backups",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


USER = environment("a").user_name


def derive(
    deployed: Environment | None,
    planned: Environment | None,
    stale: frozenset[str] = frozenset(),
    source: str | None = None,
    skip: bool = False,
    accepted: bool = False,
    uncertain: bool = False,
) -> Short:
    actions = derive_actions(
        {USER: Deployed(USER, deployed.node, deployed.comparable(), uncertain=uncertain)} if deployed else {},
        {USER: planned} if planned else {},
        {USER: stale} if stale else {},
        {USER: source} if source else {},
        {USER} if skip else set(),
        {USER} if accepted else set(),
    )
    assert {action.op for each in actions.values() for action in each if action.accept_loss} == (
        {"backup"} if accepted else set()
    )
    assert all(action.user == USER for each in actions.values() for action in each)
    return {
        node: [(action.op, action.from_node, action.to_node, action.migrations) for action in each]
        for node, each in actions.items()
    }


@pytest.mark.parametrize(
    ("databases", "physical"),
    [
        ({"a": "11.8", "b": "11.8", "c": "10.11"}, True),
        ({"a": "10.11", "b": "11.8"}, False),
        ({"a": "11.8"}, False),
        ({"b": "11.8"}, False),
        ({}, False),
    ],
)
def test_a_site_moves_live_between_nodes_of_one_series(databases: dict[str, str], physical: bool) -> None:
    deployed = {USER: Deployed(USER, "a", environment("a").comparable())}
    actions = derive_actions(deployed, {USER: environment("b")}, {}, {}, set(), databases=databases)
    found = {node: [action.op for action in each] for node, each in actions.items()}
    live, frozen = (
        {"a": ["backup", "sync", "handover", "deactivate"], "b": ["restore", "sync", "activate"]},
        {"a": ["backup", "deactivate"], "b": ["restore", "activate"]},
    )
    assert found == (live if physical else frozen)
    every = [action for each in actions.values() for action in each]
    assert {action.op for action in every if action.physical} == ({"backup"} if physical else set())
    assert {action.op for action in every if action.live} == (
        {"backup", "restore", "activate"} if physical else set()
    )


def test_a_copy_that_is_not_deployed_moves_as_it_is() -> None:
    series = {"a": "11.8", "b": "11.8", "c": "11.8"}
    deployed = {USER: Deployed(USER, "a", environment("a").comparable())}
    actions = derive_actions(deployed, {USER: environment("b")}, {}, {USER: "c"}, set(), databases=series)
    backup = actions["c"][0]
    assert (backup.op, backup.physical, backup.live) == ("backup", True, False)
    assert [action.op for action in actions["b"]] == ["restore", "activate"]


def test_a_copy_whose_removal_was_begun_moves_as_it_is() -> None:
    deployed = {USER: Deployed(USER, "a", environment("a").comparable(), uncertain=True)}
    series = {"a": "11.8", "b": "11.8"}
    actions = derive_actions(deployed, {USER: environment("b")}, {}, {}, set(), databases=series)
    found = {node: [action.op for action in each] for node, each in actions.items()}
    assert found == {"a": ["backup", "deactivate"], "b": ["restore", "activate"]}


def test_new() -> None:
    assert derive(None, environment("a")) == {"a": [("activate", None, "a", ())]}


def test_gone() -> None:
    assert derive(environment("a"), None) == {"a": [("deactivate", "a", None, ())]}


def test_changed() -> None:
    changed = environment("a", source=Source("git+file:///srv/project", "main", "b" * 40, "sha256-y"))

    assert derive(environment("a"), changed) == {"a": [("reload", "a", "a", ())]}


def test_identical() -> None:
    assert derive(environment("a"), environment("a")) == {}


def test_previous_node_makes_no_difference() -> None:
    assert derive(environment("a"), environment("a", previous_node="b")) == {}


def test_moved_without_migrations() -> None:
    assert derive(environment("a"), environment("b", migrations=())) == {
        "a": [("deactivate", "a", "b", ())],
        "b": [("activate", "a", "b", ())],
    }


def test_moved_with_migrations() -> None:
    assert derive(environment("a"), environment("b")) == {
        "a": [("backup", "a", "b", MIGRATIONS), ("deactivate", "a", "b", ())],
        "b": [("restore", "a", "b", MIGRATIONS), ("activate", "a", "b", ())],
    }


def test_moved_with_its_losses_accepted() -> None:
    before, after = environment("a"), environment("b")
    assert derive(before, after, accepted=True) == derive(before, after)


def test_moved_and_migrations_skipped() -> None:
    assert derive(environment("a"), environment("b"), skip=True) == {
        "a": [("deactivate", "a", "b", ())],
        "b": [("activate", "a", "b", ())],
    }


def test_disabled_counts_as_gone() -> None:
    assert derive(environment("a"), environment("a", enable=False)) == {"a": [("deactivate", "a", None, ())]}
    assert derive(None, environment("a", enable=False)) == {}


def test_stale_node_is_deactivated_again() -> None:
    assert derive(environment("b"), environment("b"), frozenset({"a"})) == {
        "a": [("deactivate", None, "b", ())]
    }


def test_stale_node_of_a_retired_environment() -> None:
    assert derive(None, None, frozenset({"a"})) == {"a": [("deactivate", None, None, ())]}


def test_back_to_a_stale_node_does_not_deactivate_it() -> None:
    assert derive(environment("b"), environment("a"), frozenset({"a"})) == {
        "a": [("restore", "b", "a", MIGRATIONS), ("activate", "b", "a", ())],
        "b": [("backup", "b", "a", MIGRATIONS), ("deactivate", "b", "a", ())],
    }


def test_on_to_a_third_node_while_the_first_is_stale() -> None:
    assert derive(environment("b"), environment("c"), frozenset({"a"})) == {
        "a": [("deactivate", None, "c", ())],
        "b": [("backup", "b", "c", MIGRATIONS), ("deactivate", "b", "c", ())],
        "c": [("restore", "b", "c", MIGRATIONS), ("activate", "b", "c", ())],
    }


def test_migration_source_overrides_what_is_deployed() -> None:
    assert derive(environment("b"), environment("c"), source="a") == {
        "a": [("backup", "a", "c", MIGRATIONS), ("deactivate", "a", "c", ())],
        "b": [("deactivate", "b", "c", ())],
        "c": [("restore", "a", "c", MIGRATIONS), ("activate", "a", "c", ())],
    }


def test_migration_source_of_what_was_never_deployed() -> None:
    assert derive(None, environment("b"), source="a") == {
        "a": [("backup", "a", "b", MIGRATIONS), ("deactivate", "a", "b", ())],
        "b": [("restore", "a", "b", MIGRATIONS), ("activate", "a", "b", ())],
    }


def test_a_stale_migration_source_is_deactivated_once() -> None:
    actions = derive(environment("b"), environment("c"), frozenset({"a"}), source="a")

    assert [op for op, *_ in actions["a"]] == ["backup", "deactivate"]


def test_a_migration_source_without_migrations_leaves_what_is_deployed_alone() -> None:
    assert derive(environment("b"), environment("b"), source="a", skip=True) == {
        "a": [("deactivate", None, "b", ())]
    }


def test_a_stale_copy_that_shall_be_the_deployed_one_is_activated() -> None:
    assert derive(environment("b"), environment("a"), frozenset({"a"}), source="a") == {
        "a": [("activate", "a", "a", ())],
        "b": [("deactivate", "b", "a", ())],
    }
    assert derive(None, environment("a"), source="a") == {"a": [("activate", "a", "a", ())]}


def test_another_copy_never_replaces_the_data_of_the_deployed_one() -> None:
    with pytest.raises(
        HostenvError, match=f"{USER} is deployed on b, where the copy of a would replace its data"
    ):
        derive(environment("b"), environment("b"), frozenset({"a"}), source="a")


def test_what_was_half_removed_is_activated_anew() -> None:
    half_removed = environment("a")

    assert derive(half_removed, environment("a"), uncertain=True) == {"a": [("activate", "a", "a", ())]}
    assert derive(half_removed, None, uncertain=True) == {"a": [("deactivate", "a", None, ())]}


def test_a_node_takes_users_in_order_and_each_operation_after_the_other() -> None:
    arriving, leaving = environment("a", "zoo"), environment("b", "ape")
    before = {
        arriving.user_name: Deployed(arriving.user_name, "b", {}),
        leaving.user_name: Deployed(leaving.user_name, "a", {}),
    }

    actions = derive_actions(
        before, {arriving.user_name: arriving, leaving.user_name: leaving}, {}, {}, frozenset()
    )

    assert [(action.user, action.op) for action in actions["a"]] == [
        (leaving.user_name, "backup"),
        (leaving.user_name, "deactivate"),
        (arriving.user_name, "restore"),
        (arriving.user_name, "activate"),
    ]


def test_every_target_is_verified_once() -> None:
    moved = derive_actions({USER: Deployed(USER, "a", {})}, {USER: environment("b")}, {}, {}, frozenset())
    reloaded = derive_actions({USER: Deployed(USER, "a", {})}, {USER: environment("a")}, {}, {}, frozenset())
    gone = derive_actions({USER: Deployed(USER, "a", {})}, {}, {}, {}, frozenset())

    assert verify_actions(moved) == [Action("verify", USER, "a", "b")]
    assert verify_actions(reloaded) == [Action("verify", USER, "a", "a")]
    assert verify_actions(gone) == []
