from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hostenv_core.errors import HostenvError, InvalidData
from hostenv_core.json_value import MAX_ENTRIES
from hostenv_core.names import MAX_PROJECT_NAME
from hostenv_provider.plan import generated
from hostenv_provider.plan.definitions import EnvironmentDefinition, parse_environments
from hostenv_provider.plan.placement import make_plan, moving
from hostenv_provider.plan.plan import Environment, Plan, Source, State
from hostenv_provider.plan.settings import ProviderSettings

URL = "git+file:///srv/project"
USER = "drupal-main-2855093"
SETTINGS = ProviderSettings.parse(
    {
        "hostenvHostname": "demo.hostenv.test",
        "nodeFor": {"default": "node-a"},
        "nodes": {"node-a": {"address": "192.0.2.1"}, "node-b": {"address": "192.0.2.2"}},
    },
    "http://provider",
)
BEFORE = (Plan.empty(SETTINGS), State.empty())


def source(rev: str = "a", ref: str = "main", url: str = URL) -> Source:
    return Source(url, ref, rev * 40, f"sha256-{rev}")


def define(**environments: Mapping[str, Any]) -> dict[str, EnvironmentDefinition]:
    base = {"type": "production", "application": {"name": "php"}}
    return parse_environments(
        {name: {**base, **change} for name, change in environments.items()}, "demo__drupal"
    )


def plan(
    definitions: Mapping[str, EnvironmentDefinition],
    before: tuple[Plan, State] = BEFORE,
    settings: ProviderSettings = SETTINGS,
    project: str = "drupal",
    moved: Mapping[str, Source] | None = None,
) -> tuple[Plan, State]:
    sources = {name: source() for name in definitions} if moved is None else moved
    made, state, _ = make_plan(settings, "demo", project, definitions, sources, *before, {})
    return made, state


def only(result: tuple[Plan, State]) -> Environment:
    (environment,) = result[0].environments.values()
    return environment


def placed(node: str) -> ProviderSettings:
    return replace(SETTINGS, placements={USER: node})


def test_the_demo_environment() -> None:
    virtual_hosts: dict[str, Any] = {"demo.hostenv.local": {}}
    environment = only(plan(define(main={"virtualHosts": virtual_hosts, "migrations": ["drupal-migrate"]})))

    document = environment.to_json()
    assert set(document) == {
        *("enable", "type", "node", "previousNode", "uid", "migrations", "application", "virtualHosts"),
        *("authorizedKeys", "repo", "users", "deploymentVerification", "hostenv"),
    }
    assert document["hostenv"] == {
        "organisation": "demo",
        "project": "drupal",
        "environmentName": "main",
        "safeEnvironmentName": "main",
        "gitRef": "main",
        "userName": USER,
        "hostname": f"{USER}.demo.hostenv.test",
        "hostenvHostname": "demo.hostenv.test",
        "runtimeDir": f"/run/hostenv/user/{USER}",
        "upstreamRuntimeDir": f"/run/hostenv/nginx/{USER}",
        "dataDir": f"/home/{USER}/.local/share",
        "stateDir": f"/home/{USER}/.local/state",
        "cacheDir": f"/home/{USER}/.cache",
        "root": f"/home/{USER}/.local/share/app/current",
        "backupsRepoHost": "http://provider/backups",
        "projectNameHash": "28550931a7ff25f178b6ffc12b8cb3ad288935e40dc36f1e746aae10ca5c9632",
    }
    assert set(environment.virtual_hosts) == {"demo.hostenv.local", f"{USER}.demo.hostenv.test"}
    assert (environment.uid, environment.node, environment.previous_node) == (1002, "node-a", None)


def test_plan_and_state_survive_json() -> None:
    users = {"ann": {"email": None, "publicKeys": ["ssh-ed25519 AAAA ann"]}}
    check = {"name": "x", "request": {}, "constraints": [{"rule": "bodyContains", "value": "y"}]}
    made, state = plan(define(main={"users": users, "deploymentVerification": {"checks": [check]}}, next={}))

    assert Plan.from_json(made.to_json()) == made
    assert State.from_json(state.to_json()) == state
    assert only(plan(define(main={"users": users}))).to_json()["authorizedKeys"] == ["ssh-ed25519 AAAA ann"]


def test_plan_and_state_of_everything_that_definitions_may_hold_survive_json() -> None:
    most = range(MAX_ENTRIES)
    text = "x" * 1000
    key = f"ssh-ed25519 AAAA {'x' * 980}"
    host = ".".join(["h" * 63] * 3 + ["h" * 57])
    rules = [{"rule": "bodyContains", "value": text}] * MAX_ENTRIES
    check = {
        "name": text,
        "request": {"virtualHost": f"{0:03}.{host}", "path": "/" + "x" * 999},
        "constraints": rules,
    }
    full = {
        "application": {"name": "drupal", "docroot": "/".join(["d" * 249] * 4), "profile": "p" * 64},
        "gitRef": "r" * 200,
        "virtualHosts": {f"{number:03}.{host}": {"enableACME": True} for number in most},
        "users": {f"{number:064}": {"email": text, "publicKeys": [key] * MAX_ENTRIES} for number in most},
        "migrations": [f"{number:064}" for number in most],
        "deploymentVerification": {"checks": [check] * MAX_ENTRIES},
    }
    small = {f"{'e' * 61}{number:03}": {} for number in range(1, MAX_ENTRIES)}
    settings = ProviderSettings.parse(
        {
            "hostenvHostname": ".".join(["d" * 63] * 3 + ["d" * 29]),
            "nodeFor": {"default": "n" * 63},
            "nodes": {"n" * 63: {"address": "192.0.2.1"}},
        },
        "http://provider",
    )
    made, state = plan(
        define(full=full, **small), settings=settings, moved=None, project="p" * MAX_PROJECT_NAME
    )

    assert len(made.environments) == MAX_ENTRIES
    assert max(len(each.virtual_hosts) for each in made.environments.values()) == MAX_ENTRIES + 1
    assert Plan.from_json(made.to_json()) == made
    assert State.from_json(state.to_json()) == state


def test_the_domain_leaves_room_for_the_environments() -> None:
    domain = ".".join(["d" * 63] * 3 + ["d" * 30])
    with pytest.raises(InvalidData, match="room for an environment's label"):
        ProviderSettings.parse({**SETTINGS.to_json(), "hostenvHostname": domain}, "http://provider")


def test_identical_input_gives_identical_bytes() -> None:
    names = ["one", "two", "three"]
    first = plan(define(**{name: {} for name in names}))
    second = plan(define(**{name: {} for name in reversed(names)}))

    assert generated.render(*first) == generated.render(*second)
    assert generated.render(*plan(define(**{name: {} for name in names}), first)) == generated.render(*first)


def test_every_node_has_a_slice_and_only_its_own_enabled_environments() -> None:
    made, _ = plan(define(main={}, off={"enable": False}))

    assert made.nodes == ("node-a", "node-b")
    assert list(made.slice("node-a")["environments"]) == [USER]  # type: ignore[call-overload]
    assert made.slice("node-b") == {
        "node": "node-b",
        "hostenvHostname": "demo.hostenv.test",
        "environments": {},
    }
    assert made.to_json()["nodes"] == {node: made.slice(node) for node in made.nodes}


def test_placement_by_environment_then_type_then_default() -> None:
    by_type = replace(SETTINGS, node_for={"default": "node-a", "production": "node-b"})

    assert only(plan(define(main={}), settings=by_type)).node == "node-b"
    assert only(plan(define(main={"type": "testing"}), settings=by_type)).node == "node-a"
    assert (
        only(plan(define(main={}), settings=replace(by_type, placements={USER: "node-a"}))).node == "node-a"
    )


def test_previous_node_stays_until_the_next_move() -> None:
    first = plan(define(main={}))
    moved = plan(define(main={}), first, placed("node-b"))
    again = plan(define(main={}), moved, placed("node-b"))
    back = plan(define(main={}), again, placed("node-a"))

    assert [only(each).previous_node for each in (first, moved, again, back)] == [
        None,
        "node-a",
        "node-a",
        "node-b",
    ]
    assert "previousNode" not in only(moved).comparable()


def test_uids_are_kept_and_never_used_twice() -> None:
    first = plan(define(a={}, b={}))
    without_a = plan(define(b={}), first)
    with_c = plan(define(b={}, c={}), without_a)

    uids = {environment.name: environment.uid for environment in with_c[0].environments.values()}
    assert {each.name: each.uid for each in first[0].environments.values()} == {"a": 1002, "b": 1003}
    assert uids == {"b": 1003, "c": 1004}
    assert plan(define(a={}), with_c)[1].reservations == with_c[1].reservations


def test_other_projects_are_carried_over() -> None:
    other = plan(define(main={}), project="shop")
    both = plan(define(main={}), other)

    assert both[0].environments.items() >= other[0].environments.items()
    assert plan({}, both)[0].environments == other[0].environments
    assert {each.project_key for each in both[0].environments.values()} == {"demo__drupal", "demo__shop"}
    assert set(both[0].of_project("demo__shop")) == set(other[0].environments)


def test_environments_that_do_not_move_keep_their_revision() -> None:
    first = plan(define(a={}, b={}))
    second = plan(define(a={}, b={}), first, moved={"a": source("b")})

    revisions = {each.name: each.source.rev for each in second[0].environments.values()}
    assert revisions == {"a": "b" * 40, "b": "a" * 40}


def test_a_project_whose_database_would_be_mariadbs_own_is_refused_and_no_other() -> None:
    with pytest.raises(InvalidData, match=r"^demo__mysql: .* called mysql"):
        plan(define(main={}), project="mysql")
    assert plan(define(main={}), project="mysqlold")


def test_an_environment_without_revision_is_refused_unless_disabled() -> None:
    with pytest.raises(InvalidData, match=r"demo__drupal: environments\.main: no revision of main"):
        plan(define(main={}), moved={})

    assert plan(define(main={"enable": False}), moved={})[0].environments == {}


def test_which_environments_move() -> None:
    definitions = define(a={"gitRef": "x"}, b={"gitRef": "y"}, c={"gitRef": "z"}, d={}, e={"enable": False})
    recorded = {
        "a": source(ref="x"),
        "b": source(ref="old"),
        "c": source(ref="z", url="git+file:///elsewhere"),
    }

    assert moving(definitions, recorded, URL, lambda _: False) == ["b", "c", "d"]
    assert moving(definitions, recorded, URL, lambda ref: ref == "x") == ["a", "b", "c", "d"]


def test_a_check_of_a_foreign_host_is_refused() -> None:
    check = {"name": "x", "request": {"virtualHost": "other.example"}, "constraints": []}

    with pytest.raises(InvalidData, match=r"other\.example"):
        plan(define(main={"deploymentVerification": {"checks": [check]}}))


def test_references_of_the_command_line() -> None:
    made, _ = plan(define(main={}))

    assert made.resolve(USER) == made.resolve("demo__drupal/main") == only((made, State.empty()))
    with pytest.raises(HostenvError, match=f"there are: {USER}"):
        made.resolve("demo__drupal/next")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("environments", USER, "node"), "../x"),
        (("environments", USER, "uid"), 0),
        (("environments", USER, "repo"), {}),
        (("environments", USER, "hostenv", "project"), "shop"),
        (("environments", USER, "virtualHosts"), {"a;b.example": {}}),
        (("comin",), None),
    ],
)
def test_a_damaged_plan_is_refused_with_its_place(path: tuple[str, ...], value: object) -> None:
    document = plan(define(main={}))[0].to_json()
    parent: Any = document
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value

    with pytest.raises(InvalidData, match=r"^plan\.json: \$\.") as error:
        Plan.from_json(document)

    assert "\n" not in str(error.value)


def test_a_damaged_state_is_refused() -> None:
    with pytest.raises(InvalidData, match=r"^state\.json: \$"):
        State.from_json({USER: {"userName": "other", "uid": 1002, "node": "node-a", "virtualHosts": []}})
