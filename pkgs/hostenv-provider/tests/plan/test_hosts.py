"""Which host names projects get: own, granted, reserved, somebody else's (contract 6)."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hostenv_core.errors import InvalidData
from hostenv_provider.plan import host_proofs
from hostenv_provider.plan.definitions import VirtualHost, parse_environments
from hostenv_provider.plan.dns_gate import TimeLimit
from hostenv_provider.plan.hosts import allot, matches, to_prove
from hostenv_provider.plan.placement import make_plan
from hostenv_provider.plan.plan import Environment, Plan, Source, State
from hostenv_provider.plan.settings import ProviderSettings

KEY = "demo__drupal"
USER = "drupal-main-2855093"
CANONICAL = f"{USER}.sites.example.org"
OTHER = "shop-main-0123456"
SETTINGS = ProviderSettings.parse(
    {
        "hostenvHostname": "sites.example.org",
        "nodeFor": {"default": "node-a"},
        "nodes": {"node-a": {"address": "192.0.2.1"}},
    },
    "https://provider.example.org:8443",
)
BASE = {"type": "production", "application": {"name": "php"}}


def given(
    *asked: str,
    grants: tuple[str, ...] | None = ("*",),
    reserved: Mapping[str, tuple[str, ...]] | None = None,
    aliases: Mapping[str, set[str]] | None = None,
) -> tuple[set[str], list[str]]:
    """The hosts of one environment besides its own, and the warnings."""
    settings = SETTINGS if grants is None else replace(SETTINGS, grants={KEY: grants})
    wanted = {USER: dict.fromkeys(asked, VirtualHost())}
    hosts, warnings = allot(KEY, settings, wanted, reserved or {}, aliases or {})
    assert CANONICAL in hosts[USER]
    return set(hosts[USER]) - {CANONICAL}, warnings


@pytest.mark.parametrize(
    ("grant", "host", "covered"),
    [
        ("www.example.org", "www.example.org", True),
        ("www.example.org", "a.www.example.org", False),
        ("*.example.org", "www.example.org", True),
        ("*.example.org", "a.b.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "wwwexample.org", False),
        ("*", "www.example.org", True),
    ],
)
def test_what_a_grant_covers(grant: str, host: str, covered: bool) -> None:
    assert matches(grant, host) is covered


def test_granted_names_are_served_and_others_are_not() -> None:
    hosts, (warning,) = given("www.example.com", "bank.example.net", grants=("*.example.com",))
    assert hosts == {"www.example.com"}
    assert warning == (
        f"bank.example.net of {USER} is not served: it is not granted to {KEY}:"
        f" hostenv-provider project hosts {KEY} --add bank.example.net"
    )


def test_what_is_granted_by_dns_is_served_once_it_is_an_alias_of_the_environments_name() -> None:
    host, grants = "www.example.com", ("dns:*.example.com",)
    assert to_prove(KEY, replace(SETTINGS, grants={KEY: grants}), {USER: {host: VirtualHost()}}, {}) == [host]
    for aliases in ({}, {host: {host, f"{OTHER}.sites.example.org"}}):
        hosts, (warning,) = given(host, grants=grants, aliases=aliases)
        assert hosts == set()
        assert warning.endswith(f"; or make it an alias (CNAME) of {CANONICAL} and push again")
    proof = {host: {host, CANONICAL, "node-a.example.org"}}
    assert given(host, grants=grants, aliases=proof) == ({host}, [])
    # Once had it needs no proof: an outage of DNS takes no name away.
    assert given(host, grants=grants, reserved={USER: (host,)}) == ({host}, [])
    # What nobody granted is nobody's by DNS, nor is what another environment has.
    assert given(host, grants=(), aliases=proof)[0] == set()
    assert given(host, grants=grants, reserved={OTHER: (host,)}, aliases=proof)[0] == set()


@pytest.mark.parametrize(
    ("grants", "asked"),
    [
        (("dns:*",), "www.sites.example.org"),
        (("dns:*",), "provider.example.org"),
        (("dns:*",), f"{OTHER}.sites.example.org"),
        (("dns:www.example.org",), "example.org"),
    ],
)
def test_dns_gives_nothing_that_is_reserved_or_that_no_pattern_covers(
    grants: tuple[str, ...], asked: str
) -> None:
    hosts, (warning,) = given(asked, grants=grants, aliases={asked: {asked, CANONICAL}})
    assert hosts == set()
    assert "CNAME" not in warning
    # Nor is anybody told that an alias would help.
    assert "CNAME" not in given(asked, grants=grants)[1][0]


def test_looking_names_up_takes_a_bounded_time_for_all_the_others_wait() -> None:
    asked = {"virtualHosts": {f"h{number}.example.com": {} for number in range(50)}}
    definitions = parse_environments({"main": {**BASE, **asked}}, "flake.nix")
    now = 0.0

    def slow(host: str) -> set[str]:
        nonlocal now
        now += 20
        return {host}

    settings = replace(SETTINGS, grants={KEY: ("dns:*",)})
    limit = TimeLimit(lambda: now)
    assert len(host_proofs.look_up(KEY, settings, definitions, State.empty(), slow, limit)) == 3
    with pytest.raises(TimeoutError):
        # Nothing is left of it for the certificates' look-ups.
        limit.demand()


def test_what_is_granted_outright_or_had_is_not_looked_up() -> None:
    settings = replace(SETTINGS, grants={KEY: ("*.example.org", "dns:*")})
    asked = dict.fromkeys(["www.example.org", "www.example.com", "www.example.net"], VirtualHost())
    assert to_prove(KEY, settings, {USER: asked}, {USER: ["www.example.net"]}) == ["www.example.com"]
    assert to_prove(KEY, replace(SETTINGS, grants={}), {USER: asked}, {}) == []


@pytest.mark.parametrize("grants", [(), ("*",), ("*.example.org",), None])
@pytest.mark.parametrize(
    "host",
    ["sites.example.org", "www.sites.example.org", "provider.example.org", f"{OTHER}.sites.example.org"],
)
def test_reserved_names_are_not_had_by_a_pattern(host: str, grants: tuple[str, ...] | None) -> None:
    hosts, warnings = given(host, grants=grants)
    assert hosts == set()
    assert len(warnings) == 1


def test_the_very_name_may_be_granted_but_neither_the_providers_nor_another_environments() -> None:
    assert given("www.sites.example.org", grants=("www.sites.example.org",))[0]
    for host in ("provider.example.org", f"{OTHER}.sites.example.org"):
        assert given(host, grants=(host,))[0] == set()


def test_the_first_owner_keeps_a_name_whoever_asks_for_it_next() -> None:
    hosts, (warning,) = given("www.example.com", "a.example.com", reserved={OTHER: ("www.example.com",)})
    assert hosts == {"a.example.com"}
    assert warning == f"www.example.com of {USER} is not served: it belongs to {OTHER}"


def test_of_two_environments_the_one_that_had_a_name_keeps_it() -> None:
    host = {"www.example.com": VirtualHost()}
    users = ["drupal-a-0123456", "drupal-b-0123456"]
    settings = replace(SETTINGS, grants={KEY: ("*",)})
    for reserved, first in (({}, users[0]), ({users[1]: ("www.example.com",)}, users[1])):
        hosts, warnings = allot(KEY, settings, dict.fromkeys(users, host), reserved, {})
        assert [user for user in users if "www.example.com" in hosts[user]] == [first]
        assert len(warnings) == 1


def test_its_own_name_is_an_environments_own_whoever_claims_it() -> None:
    secured = VirtualHost(enable_acme=True)
    hosts, warnings = allot(KEY, SETTINGS, {USER: {CANONICAL: secured}}, {OTHER: (CANONICAL,)}, {})
    assert hosts == {USER: {CANONICAL: secured}}
    assert warnings == []


def test_a_project_from_before_there_were_grants_keeps_what_it_has_and_may_ask_for_what_is_free() -> None:
    had = ("www.sites.example.org", "www.example.com")
    hosts, warnings = given(*had, "free.example.net", grants=None, reserved={USER: had})
    assert (hosts, warnings) == ({*had, "free.example.net"}, [])
    # Once the operator has decided, that counts.
    assert given(*had, grants=(), reserved={USER: had})[0] == set()


def plan(
    project: str, before: tuple[Plan, State], **environments: list[str]
) -> tuple[dict[str, Environment], tuple[Plan, State], list[str]]:
    definitions = parse_environments(
        {
            name: {**BASE, "virtualHosts": {host: {} for host in hosts}}
            for name, hosts in environments.items()
        },
        project,
    )
    sources = {name: Source("git+file:///srv/x", "main", "a" * 40, "sha256-a") for name in definitions}
    made, state, warnings = make_plan(SETTINGS, "demo", project, definitions, sources, *before, {})
    return {each.name: each for each in made.environments.values()}, (made, state), warnings


BEFORE = (Plan.empty(SETTINGS), State.empty())


def test_a_clash_drops_the_name_and_the_rest_is_planned() -> None:
    _, before, _ = plan("shop", BEFORE, first=["www.example.com"])
    made, _, (warning,) = plan("drupal", before, main=["www.example.com", "a.example.com"])
    assert set(made["main"].virtual_hosts) == {CANONICAL, "a.example.com"}
    assert "it belongs to shop-first-" in warning


def test_a_retired_environment_keeps_its_names() -> None:
    _, before, _ = plan("shop", BEFORE, first=["www.example.com"])
    _, retired, _ = plan("shop", before)
    made, _, warnings = plan("drupal", retired, main=["www.example.com"])
    assert set(made["main"].virtual_hosts) == {CANONICAL}
    assert len(warnings) == 1


def test_a_name_may_change_its_environment_in_one_plan() -> None:
    _, before, _ = plan("drupal", BEFORE, main=["www.example.com"], next=[])
    made, _, warnings = plan("drupal", before, main=[], next=["www.example.com"])
    assert "www.example.com" in made["next"].virtual_hosts
    assert warnings == []


def test_a_check_of_a_name_that_is_not_given_is_not_made() -> None:
    check = {
        "name": "front",
        "request": {"virtualHost": "provider.example.org", "path": "/"},
        "constraints": [{"rule": "minHttpStatus", "value": 200}],
    }
    definitions = parse_environments(
        {
            "main": {
                "type": "production",
                "application": {"name": "php"},
                "virtualHosts": {"provider.example.org": {}},
                "deploymentVerification": {"checks": [check]},
            }
        },
        KEY,
    )
    sources = {"main": Source("git+file:///srv/x", "main", "a" * 40, "sha256-a")}
    made, _, warnings = make_plan(SETTINGS, "demo", "drupal", definitions, sources, *BEFORE, {})
    assert made.environments[USER].checks == ()
    assert len(warnings) == 2


@pytest.mark.parametrize(
    "grant", ["", "*.", "a b.example.org", "*.*.example.org", "www.*.org", "Www.example.org"]
)
def test_what_is_no_host_name_is_no_grant(grant: str) -> None:
    document = {**SETTINGS.to_json(), "projects": {KEY: {"hosts": [grant]}}}
    with pytest.raises(InvalidData, match="projects"):
        ProviderSettings.parse(document, SETTINGS.public_url)


def test_grants_survive_json() -> None:
    settings = replace(SETTINGS, grants={KEY: ("*.example.org",), "demo__shop": ()})
    assert ProviderSettings.parse(settings.to_json(), SETTINGS.public_url) == settings
    assert "projects" not in SETTINGS.to_json()
