import pytest
from hostenv_core import names
from hostenv_core.errors import HostenvError, InvalidData

HOSTILE = ["", "../x", "a b", "a\nb", 'a"b', "a'b", "a;b", "a{b", "a${b}", "ä", "a" * 300, "-a", "a\x00b"]


def test_vector_of_the_contract() -> None:
    digest = names.project_name_hash("demo", "drupal", "main")

    assert digest == "28550931a7ff25f178b6ffc12b8cb3ad288935e40dc36f1e746aae10ca5c9632"
    assert names.user_name("demo", "drupal", "main") == "drupal-main-2855093"


def test_hash_ignores_case_and_punctuation_of_organisation_and_project_only() -> None:
    assert names.project_name_hash("De-mo", "DRU_pal", "main") == names.project_name_hash(
        "demo", "drupal", "main"
    )
    assert names.project_name_hash("demo", "drupal", "Main") != names.project_name_hash(
        "demo", "drupal", "main"
    )


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("main", "main"),
        ("feature/New_Look", "new-look"),
        ("a-b-c-d-e-f-g", "a-b-c-d-e-f"),
        ("abcdefghijk-l", "abcdefghijk"),
        ("abcdefghijklmnop-q", "abcdefghijk"),
        ("one-twothree-four", "one"),
        ("--x----y--", "x-y"),
        ("release/", ""),
    ],
)
def test_slug(text: str, slug: str) -> None:
    assert names.slug(text) == slug


def test_user_name_fits_a_unix_user() -> None:
    assert len(names.user_name("o", "p" * 60, "e" * 60)) <= 32


def test_input_name_gives_organisation_and_project() -> None:
    assert names.parse_input_name("My-Org__Web-Site") == ("myorg", "website")


@pytest.mark.parametrize(
    "name", [*HOSTILE, "demo", "demo_drupal", "a__b__c", "a__", "__b", "a__7up", "a__b/c"]
)
def test_input_name_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(HostenvError) as error:
        names.parse_input_name(name)

    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("project", ["mysql", "sys", "ibdata1", "ibtmp1", "undo001"])
def test_names_that_mariadb_keeps_for_itself(project: str) -> None:
    with pytest.raises(InvalidData, match=f"^demo__{project}: .* called {project}, .* another name$"):
        names.demand_database_name(f"demo__{project}", project)


@pytest.mark.parametrize(
    "project", ["mysql2", "sysadmin", "ibdata", "undo", "undo1", "global", "restore", "nginx", "current"]
)
def test_names_that_are_as_good_as_others(project: str) -> None:
    names.demand_database_name(f"demo__{project}", project)


@pytest.mark.parametrize(
    "name", ["example.org", "a.b", "xn--bcher-kva.example", "1.example.org", "a-b.c-d.example"]
)
def test_host_names(name: str) -> None:
    assert names.is_host_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *HOSTILE,
        "localhost",
        "A.example",
        "a..b",
        "a.b.",
        ".a.b",
        "-a.b",
        "a-.b",
        "*.a.b",
        "1.2.3.4",
        "a_b.c",
        "a" * 64 + ".b",
        ".".join(["a" * 60] * 5),
        "a.b\n",
        "a.b;",
        "a.b {",
    ],
)
def test_what_is_no_host_name(name: str) -> None:
    assert not names.is_host_name(name)


@pytest.mark.parametrize("name", [*HOSTILE, "Node", "provider", "node_a", "a.b", "1a"])
def test_what_is_no_node_name(name: str) -> None:
    assert not names.is_node_name(name)


@pytest.mark.parametrize("name", [*HOSTILE, "a..b", "/a", "a/", "a@{b}"])
def test_what_is_no_environment_name(name: str) -> None:
    assert not names.is_environment_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *HOSTILE,
        "a..b",
        "a/",
        "/a",
        "a//b",
        "a.lock",
        "a.lock/b",
        "a.",
        "a/.b",
        "-x",
        "a@{1}",
        "a:b",
        "a~1",
        "a?b",
    ],
)
def test_what_is_no_git_reference(name: str) -> None:
    assert not names.is_git_reference(name)


@pytest.mark.parametrize("name", ["main", "feature/x-1", "v1.2", "release_3+x"])
def test_git_references(name: str) -> None:
    assert names.is_git_reference(name)


def test_longer_names_of_projects_are_refused() -> None:
    for name in (f"{'o' * 49}__p", f"o__{'p' * 49}"):
        with pytest.raises(HostenvError, match="48 letters and digits at most"):
            names.parse_input_name(name)
    assert names.parse_input_name(f"o__{'p-' * 31}") == ("o", "p" * 31)
