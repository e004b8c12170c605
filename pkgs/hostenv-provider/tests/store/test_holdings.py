"""Which node may have what of an environment's secrets and backups, and when that ends."""

from collections.abc import Callable
from typing import Any

import pytest
from hostenv_core.states import Status
from hostenv_provider.plan.plan import Environment
from hostenv_provider.store import database
from hostenv_provider.store.holdings import Part
from hostenv_provider.store.store import Store
from provider_support import make_earlier

MakeEnvironment = Callable[..., Environment]


@pytest.mark.parametrize(
    ("part", "secrets", "reads", "writes"),
    [
        (Part(), False, False, False),
        (Part(hosts=True), True, True, True),
        (Part(operations=frozenset({"restore", "activate", "verify"})), True, True, False),
        (Part(operations=frozenset({"activate", "verify"})), True, False, False),
        # the copy of a node that is named as the source of a move
        (Part(operations=frozenset({"backup", "deactivate"})), True, True, True),
        # after the commit point
        (Part(operations=frozenset({"deactivate"})), False, False, False),
        # replaced: what is under way goes on, and nothing else
        (Part(hosts=True, ending=True), True, False, False),
        (Part(hosts=True, operations=frozenset({"backup"}), ending=True), True, True, True),
        (Part(operations=frozenset({"restore"}), ending=True), True, True, False),
    ],
)
def test_what_a_part_allows(part: Part, secrets: bool, reads: bool, writes: bool) -> None:
    assert (part.gets_secrets, part.reads_backups, part.writes_backups) == (secrets, reads, writes)


def test_a_moves_nodes_change_their_parts_at_the_commit_point(
    provider: Any, environment: MakeEnvironment
) -> None:
    here, there = environment(node="node-a"), environment(node="node-b")
    user, store = here.user_name, provider.store
    assert store.hand_out("node-a", user) is None
    provider.finish(provider.deploy(here), [here], "node-a")
    assert store.hand_out("node-a", user) == ["node-a"]
    job = provider.deploy(there)
    assert store.hand_out("node-a", user) == ["node-a", "node-b"], "ready before anything is frozen"
    assert store.part("node-b", user).reads_backups
    assert not store.part("node-b", user).writes_backups
    provider.until_check(job)
    assert store.part("node-a", user).writes_backups
    provider.verify(job, user)
    assert not store.part("node-a", user).keeps_account
    assert store.part("node-b", user).writes_backups
    assert store.hand_out("node-a", user) is None
    assert store.accounts() == [("node-a", user), ("node-b", user)]
    store.forget_account("node-a", user)
    assert store.accounts() == [("node-b", user)]
    assert [holding.user for holding in store.holdings("node-a")] == [user], "what it knew it knows"


def test_a_target_that_failed_keeps_nothing(provider: Any, environment: MakeEnvironment) -> None:
    here, there = environment(node="node-a"), environment(node="node-b")
    provider.finish(provider.deploy(here), [here], "node-a")
    job = provider.deploy(there)
    provider.store.hand_out("node-a", here.user_name)
    provider.store.fail(job, "no")
    assert not provider.store.part("node-b", here.user_name).keeps_account
    assert provider.store.part("node-a", here.user_name).keeps_account


def test_a_replaced_account_is_good_for_what_is_under_way_only(
    provider: Any, environment: MakeEnvironment
) -> None:
    here, there = environment(node="node-a"), environment(node="node-b")
    user, store = here.user_name, provider.store
    provider.finish(provider.deploy(here), [here], "node-a")
    job = provider.deploy(there)
    store.hand_out("node-a", user)
    assert store.replace_accounts() == 2
    assert store.part("node-a", user).writes_backups
    provider.post(job, "node-a", "backup")
    assert not store.part("node-a", user).reads_backups
    store.renew_account("node-a", user)
    assert store.part("node-a", user).writes_backups


def test_what_nodes_were_given_before_it_was_recorded_is_known(
    provider: Any, environment: MakeEnvironment
) -> None:
    """A database of the version before says which actions nodes began, and so what they were given."""
    here, there = environment(node="node-a"), environment(node="node-b")
    job = provider.deploy(here)
    provider.post(job, "node-a", "activate", Status.RUNNING)
    provider.finish(job, [here], "node-a")
    provider.deploy(there)
    provider.store.close()
    make_earlier(provider.path, database._HOLDINGS)

    store = Store(provider.path)

    (holding,) = store.holdings("node-a")
    assert holding.user == here.user_name
    assert holding.first_at <= holding.last_at
    assert store.holdings("node-b") == [], "it has not begun"
    assert store.accounts() == []
