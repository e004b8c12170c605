from dataclasses import replace

from hostenv_provider.plan import dns_gate
from hostenv_provider.plan.definitions import Application, VirtualHost
from hostenv_provider.plan.plan import Environment, Plan, Source

ADDRESSES = {"node-a": "192.0.2.1", "node-b": "node-b.example"}
SECURE = VirtualHost(enable_acme=True, force_ssl=True)
NO_LIMIT = dns_gate.TimeLimit(lambda: 0.0)


def lookup(answers: dict[str, set[str]]) -> dns_gate.Lookup:
    known = {"192.0.2.1": {"192.0.2.1"}, "node-b.example": {"192.0.2.2"}, **answers}
    return lambda host: known.get(host, set())


def plan(node: str, previous_node: str | None, **hosts: VirtualHost) -> tuple[Plan, str]:
    environment = Environment(
        organisation="demo",
        project="drupal",
        name="main",
        enable=True,
        type="production",
        node=node,
        previous_node=previous_node,
        uid=1002,
        migrations=(),
        application=Application("php", "web"),
        virtual_hosts={f"{name}.example": host for name, host in hosts.items()},
        users={},
        checks=(),
        source=Source("git+file:///srv/project", "main", "a" * 40, "sha256-x"),
        hostenv_hostname="demo.hostenv.test",
        backups_repo_host="http://provider/backups",
    )
    user = environment.user_name
    return Plan("demo.hostenv.test", "http://provider", {user: environment}, ("node-a", "node-b")), user


def gate(node: str, previous_node: str | None, found: set[str]) -> tuple[VirtualHost, list[str]]:
    before, user = plan(node, previous_node, www=SECURE)
    after, warnings = dns_gate.apply(before, ADDRESSES, lookup({"www.example": found}), [user], NO_LIMIT)
    return after.environments[user].virtual_hosts["www.example"], warnings


def test_a_name_that_leads_to_its_node_stays() -> None:
    assert gate("node-b", None, {"192.0.2.2", "2001:db8::2"}) == (SECURE, [])


def test_a_name_that_leads_to_the_previous_node_stays() -> None:
    assert gate("node-b", "node-a", {"192.0.2.1"}) == (SECURE, [])


def test_a_name_that_leads_elsewhere_loses_both_with_a_warning() -> None:
    host, warnings = gate("node-b", None, {"192.0.2.1"})

    assert host == VirtualHost()
    assert len(warnings) == 1
    assert "www.example" in warnings[0]
    assert "node-b" in warnings[0]


def test_a_name_without_addresses_loses_both() -> None:
    assert gate("node-a", "node-b", set())[0] == VirtualHost()


def test_a_name_that_asks_for_neither_is_not_looked_up() -> None:
    before, user = plan("node-a", None, www=VirtualHost())

    def fail(host: str) -> set[str]:
        raise AssertionError(host)

    assert dns_gate.apply(before, ADDRESSES, fail, [user], NO_LIMIT) == (before, [])


def test_other_users_stay_as_they_are() -> None:
    before, user = plan("node-a", None, www=SECURE)

    assert dns_gate.apply(before, ADDRESSES, lookup({}), [], NO_LIMIT)[0] == before
    assert dns_gate.apply(before, ADDRESSES, lookup({}), [user], NO_LIMIT)[0] != before


def test_a_node_that_is_gone_from_the_settings_is_no_match() -> None:
    before, user = plan("node-b", "node-c", www=SECURE)
    environment = replace(before.environments[user], node="node-d")

    after, _ = dns_gate.apply(
        replace(before, environments={user: environment}),
        ADDRESSES,
        lookup({"www.example": {"192.0.2.1"}}),
        [user],
        NO_LIMIT,
    )

    assert after.environments[user].virtual_hosts["www.example"] == VirtualHost()


def test_each_name_is_looked_up_once() -> None:
    before, user = plan("node-b", "node-a", **{f"h{number}": SECURE for number in range(50)})
    asked: list[str] = []

    def ask(host: str) -> set[str]:
        asked.append(host)
        return {"192.0.2.9"}

    dns_gate.apply(before, {"node-a": "a.example", "node-b": "b.example"}, ask, [user], NO_LIMIT)

    assert len(asked) == len(set(asked)) == 51


def test_names_whose_turn_does_not_come_in_time_lose_both_with_one_warning() -> None:
    before, user = plan("node-b", None, **{f"h{number}": SECURE for number in range(50)})
    now = 0.0

    def slow(_host: str) -> set[str]:
        nonlocal now
        now += 20
        return {"192.0.2.2"}

    after, warnings = dns_gate.apply(before, ADDRESSES, slow, [user], dns_gate.TimeLimit(lambda: now))

    kept = [name for name, host in after.environments[user].virtual_hosts.items() if host == SECURE]
    assert len(kept) == 2
    assert len(warnings) == 1
    assert "h2.example and 47 more names were not looked up within 60 s" in warnings[0]
