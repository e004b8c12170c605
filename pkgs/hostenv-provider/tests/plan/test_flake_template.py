import pytest
from hostenv_core.errors import HostenvError, InvalidData
from hostenv_provider.plan import flake_template

URL = "git+file:///srv/project"


def test_projects_are_added_in_order_between_the_markers() -> None:
    flake = flake_template.add_project(flake_template.provider_flake(), "demo__shop", URL)
    flake = flake_template.add_project(flake, "demo__drupal", "git+https://example.org/a/b.git")

    lines = [line.strip() for line in flake.splitlines()]
    begin = next(index for index, line in enumerate(lines) if line.startswith("# begin projects"))
    assert lines[begin + 1 : begin + 4] == [
        'demo__drupal = { url = "git+https://example.org/a/b.git"; flake = false; };',
        'demo__shop = { url = "git+file:///srv/project?ref=HEAD"; flake = false; };',
        "# end projects",
    ]


def test_a_project_is_not_added_twice() -> None:
    flake = flake_template.add_project(flake_template.provider_flake(), "demo__shop", URL)

    with pytest.raises(InvalidData, match="demo__shop"):
        flake_template.add_project(flake, "demo__shop", URL)


def test_a_flake_without_markers_is_refused() -> None:
    with pytest.raises(InvalidData, match="end projects"):
        flake_template.add_project("{ }", "demo__shop", URL)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv/project",
        "github:owner/project",
        "git+file:///srv/project?dir=x",
        "git+file:///srv/${x}",
        'git+file:///srv/"; }',
        "git+file:///srv/a b",
        "git+file:///srv/a\nb",
        "git+ext://x",
        "git+https://example.org/" + "a" * 1000,
        "--upload-pack=x",
        "git+https://user:secret@example.org/project",
    ],
)
def test_addresses_are_refused_in_one_line(url: str) -> None:
    with pytest.raises(HostenvError, match="project address") as error:
        flake_template.check_url(url)

    assert "\n" not in str(error.value)
