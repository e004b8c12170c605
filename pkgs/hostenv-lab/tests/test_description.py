"""What a description may say, and what is said about a wrong one."""

from pathlib import Path

import pytest
from hostenv_core.errors import HostenvError
from hostenv_lab import description

REPOSITORY = Path(__file__).parents[3]
IMAGE = '[image]\nsuite = "trixie"\npackages = ["systemd"]\n'


def load(folder: Path, text: str) -> description.Description:
    path = folder / "machines.toml"
    path.write_text(text)
    return description.load(path)


def test_machines_are_numbered_by_their_sorted_names(tmp_path: Path) -> None:
    described = load(tmp_path, IMAGE + "[machine.provider]\n[machine.node-b]\n[machine.node-a]\n")
    assert [(machine.name, machine.number) for machine in described.machines] == [
        ("node-a", 1),
        ("node-b", 2),
        ("provider", 3),
    ]


def test_paths_are_relative_to_the_description(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    machine = '[machine.one]\ntrees = [{ source = "tree", target = "/srv" }]\n'
    described = load(tmp_path, IMAGE + machine)
    assert described.machines[0].trees == (description.Tree(tmp_path / "tree", "/srv"),)


def test_the_repositorys_own_description_is_valid() -> None:
    described = description.load(REPOSITORY / "pkgs/hostenv-demo/machines/machines.toml")
    assert [machine.name for machine in described.machines] == ["node-a", "node-b", "provider"]
    assert {forward.name: forward.scheme for forward in described.ports} == {
        "node-a": "http",
        "node-b": "http",
        "node-a-ssh": "ssh",
        "node-b-ssh": "ssh",
        "provider-ssh": "ssh",
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "image is missing"),
        (IMAGE, "machine is missing"),
        (IMAGE + "[machine]", "machine: describe 1 to 250 machines"),
        (IMAGE + "[machine.one", "machines.toml: "),
        (IMAGE + "[machine.One]", "machine: 'One' is not valid as a machine's host name"),
        (
            IMAGE + "[machine.one]\nmemroy = 1",
            r"machine\.one: unknown key 'memroy', known are enable",
        ),
        (IMAGE + "[machine.one]\nmemory = 0", r"machine\.one\.memory: must be a whole number from 1"),
        (IMAGE + "[machine.one]\nmemory = true", r"machine\.one\.memory: must be a whole number"),
        (IMAGE + "[machine.one]\nenable = [1]", r"machine\.one\.enable\[0\]: must be a string"),
        (IMAGE + '[machine.one]\nproducts = ["no"]', r"machine\.one\.products\[0\]: there is no .*/no"),
        (
            IMAGE + '[machine.one]\nsubstitutes = ["x"]',
            r"substitutes\[0\]: 'x' is not valid as a",
        ),
        (IMAGE + "[machine]\none = 1", r"machine\.one: must be an object"),
        (
            IMAGE + '[machine.one]\ntrees = [{ source = ".", target = "srv" }]',
            r"machine\.one\.trees\[0\]\.target: 'srv' is not valid as an absolute path",
        ),
        (
            IMAGE + '[machine.one]\n[[forward]]\nmachine = "two"\nguest_port = 80\naddress = "a"\nport = 1',
            r"forward\[0\]\.machine: 'two' is not valid as a \[machine\]",
        ),
        (
            IMAGE + '[machine.one]\n[[socket]]\nmachine = "one"\nguest_path = "/run/s"\npath = "../s"',
            r"socket\[0\]\.path: '../s' is not valid as a path below the work folder",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(HostenvError, match=complaint) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_an_absent_description_is_named(tmp_path: Path) -> None:
    with pytest.raises(HostenvError, match=r"absent\.toml: cannot be read"):
        description.load(tmp_path / "absent.toml")
