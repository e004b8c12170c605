"""Taking over a generation: accounts, slice, commit; again and again, and only this node's."""

import grp
import hashlib
import json
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hostenv_core.errors import HostenvError
from hostenv_core.locks import locked_if_free
from hostenv_node.comin import switch as taking_over
from hostenv_node.comin import users
from hostenv_node.comin.generation import Generation
from hostenv_node.config import Config
from hostenv_node.jobs.api import Unreachable
from node_support import C1, C2, C3, USER, reapply, switch

OTHER = "shop-main-1234567"


class Machine:
    """Accounts in text files, with programs that add to them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tools = {}
        for name, kind in (("useradd", "passwd"), ("groupadd", "group")):
            program = root / name
            number = "--uid" if kind == "passwd" else "--gid"
            program.write_text(
                "#!/bin/sh\n"
                f'echo "{name} $*" >>{root}/calls\n'
                f"[ ! -e {root}/broken-{name} ] || {{ echo no space left >&2; exit 1; }}\n"
                'number=\nfor word; do [ "$last" != ' + number + " ] || number=$word; last=$word; done\n"
                f'echo "$last $number" >>{root}/{kind}\n'
            )
            program.chmod(0o755)
            self.tools[name] = str(program)
            (root / kind).write_text("alice 1500\n")
        self.homes = root / "home"
        self.homes.mkdir()

    def entries(self, kind: str) -> list[tuple[str, int]]:
        lines = (line.split() for line in (self.root / kind).read_text().splitlines())
        return [(name, int(number)) for name, number in lines]

    def add(self, kind: str, name: str, number: int) -> None:
        with (self.root / kind).open("a") as file:
            file.write(f"{name} {number}\n")

    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    fields = {"passwd": ("pw_name", "pw_uid"), "group": ("gr_name", "gr_gid")}

    def by(kind: str, position: int) -> Callable[[object], SimpleNamespace]:
        def look_up(key: object) -> SimpleNamespace:
            for entry in made.entries(kind):
                if entry[position] == key:
                    return SimpleNamespace(**dict(zip(fields[kind], entry, strict=True)))
            raise KeyError(key)

        return look_up

    monkeypatch.setattr(pwd, "getpwnam", by("passwd", 0))
    monkeypatch.setattr(pwd, "getpwuid", by("passwd", 1))
    monkeypatch.setattr(grp, "getgrnam", by("group", 0))
    monkeypatch.setattr(grp, "getgrgid", by("group", 1))
    monkeypatch.setattr(users.os, "chown", lambda *_args, **_kwargs: None)
    monkeypatch.setattr(users.ensure_users, "__defaults__", (made.homes,))
    return made


@pytest.fixture
def config(configure: Callable[..., Config], machine: Machine) -> Config:
    return configure("node-b", tools=machine.tools)


def recorded(config: Config) -> str | None:
    generation = Generation.recorded(config)
    return generation.commit if generation else None


def test_switch_makes_the_users_and_records_slice_and_commit(
    config: Config, machine: Machine, generation: Callable[..., Path]
) -> None:
    toplevel = generation(C1, environments={USER: {"uid": 1002}})
    assert switch(config, toplevel) == Generation(C1, toplevel)
    assert machine.entries("passwd")[-1] == (USER, 1002)
    assert machine.entries("group")[-1] == (USER, 1002)
    assert (machine.homes / USER).stat().st_mode & 0o777 == 0o700
    assert json.loads(config.slice_file.read_text())["environments"] == {USER: {"uid": 1002}}
    assert recorded(config) == C1


def test_same_generation_again_changes_nothing(
    config: Config, machine: Machine, generation: Callable[..., Path]
) -> None:
    toplevel = generation(C1, environments={USER: {"uid": 1002}})
    switch(config, toplevel)
    before = {path: path.stat().st_mtime_ns for path in config.state_dir.iterdir()}
    calls = machine.calls()
    switch(config, toplevel)
    assert {path: path.stat().st_mtime_ns for path in config.state_dir.iterdir()} == before
    assert machine.calls() == calls


def test_users_slice_and_then_the_commit_are_on_the_disk(
    config: Config, generation: Callable[..., Path], synchronised: list[str]
) -> None:
    switch(config, generation(C1, environments={USER: {"uid": 1002}}))
    files = [".users.json.new", ".slice.json.new", ".generation.json.new"]
    assert synchronised == [name for file in files for name in (file, config.state_dir.name)]


def test_switch_removes_nothing(config: Config, machine: Machine, generation: Callable[..., Path]) -> None:
    switch(config, generation(C1, environments={USER: {"uid": 1002}}))
    switch(config, generation(C2))
    assert (USER, 1002) in machine.entries("passwd")
    assert json.loads(config.users_file.read_text()) == {USER: 1002}
    assert recorded(config) == C2
    switch(config, generation(C3, environments={OTHER: {"uid": 1003}}))
    assert {(USER, 1002), (OTHER, 1003)} <= set(machine.entries("passwd"))
    assert json.loads(config.users_file.read_text()) == {USER: 1002, OTHER: 1003}


@pytest.mark.parametrize(
    ("kind", "name", "number"),
    [("passwd", USER, 1002), ("passwd", "bob", 1002), ("group", USER, 1002), ("group", "staff", 1002)],
)
def test_foreign_account_is_refused_and_nothing_is_made(
    config: Config, machine: Machine, generation: Callable[..., Path], kind: str, name: str, number: int
) -> None:
    switch(config, generation(C1))
    machine.add(kind, name, number)
    with pytest.raises(HostenvError, match=name):
        switch(config, generation(C2, environments={OTHER: {"uid": 1003}, USER: {"uid": 1002}}))
    assert machine.calls() == []
    assert recorded(config) == C1
    assert not config.users_file.exists()


@pytest.mark.parametrize("kind", ["passwd", "group"])
def test_account_whose_number_somebody_changed_is_refused(
    config: Config, machine: Machine, generation: Callable[..., Path], kind: str
) -> None:
    switch(config, generation(C1, environments={USER: {"uid": 1002}}))
    path = machine.root / kind
    path.write_text(path.read_text().replace(f"{USER} 1002", f"{USER} 1500"))
    with pytest.raises(HostenvError, match=f"{USER} exists with number 1500, not 1002"):
        switch(config, generation(C2, environments={USER: {"uid": 1002}}))
    assert recorded(config) == C1


def test_uid_that_changed_in_the_plan_is_refused(
    config: Config, machine: Machine, generation: Callable[..., Path]
) -> None:
    switch(config, generation(C1, environments={USER: {"uid": 1002}}))
    calls = machine.calls()
    with pytest.raises(HostenvError, match="1002 on this node but 1009"):
        switch(config, generation(C2, environments={USER: {"uid": 1009}}))
    assert machine.calls() == calls


def test_home_that_root_made_is_closed_before_its_user_gets_it(
    config: Config, machine: Machine, generation: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = machine.homes / USER
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    modes = []
    monkeypatch.setattr(os, "chown", lambda path, *_, **__: modes.append(Path(path).stat().st_mode & 0o777))
    switch(config, generation(C1, environments={USER: {"uid": 1002}}))
    assert modes == [0o700]


def test_home_of_somebody_else_is_refused(
    config: Config, machine: Machine, generation: Callable[..., Path]
) -> None:
    (machine.homes / USER).write_text("not a folder")
    with pytest.raises(HostenvError, match="move it away"):
        switch(config, generation(C1, environments={USER: {"uid": 1002}}))
    assert machine.calls() == []


@pytest.mark.parametrize("program", ["groupadd", "useradd"])
def test_cut_short_between_accounts_is_completed(
    config: Config, machine: Machine, generation: Callable[..., Path], program: str
) -> None:
    toplevel = generation(C1, environments={USER: {"uid": 1002}})
    (machine.root / f"broken-{program}").touch()
    with pytest.raises(HostenvError, match="no space left"):
        switch(config, toplevel)
    assert recorded(config) is None
    assert not config.slice_file.exists()
    (machine.root / f"broken-{program}").unlink()
    switch(config, toplevel)
    assert machine.entries("passwd")[-1] == machine.entries("group")[-1] == (USER, 1002)
    assert recorded(config) == C1


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        (f"hostenv-node-a-{C1}", {"node": "node-b", "environments": {}}, "built for node node-a"),
        ("nixos-system-node-b-24.11", {"node": "node-b", "environments": {}}, "is not named"),
        (f"hostenv-node-b-{C1[:7]}", {"node": "node-b", "environments": {}}, "is not named"),
        (f"hostenv-node-b-{C1}", None, "missing"),
        (
            f"hostenv-node-b-{C1}",
            {"node": "node-a", "environments": {}},
            "'node-a' is not valid as the name of this node",
        ),
        (f"hostenv-node-b-{C1}", {"node": "node-b"}, "environments"),
        (
            f"hostenv-node-b-{C1}",
            {"node": "node-b", "environments": {"../x": {"uid": 1002}}},
            "'../x' is not valid as an environment's user",
        ),
        (
            f"hostenv-node-b-{C1}",
            {"node": "node-b", "environments": {USER: {"uid": 0}}},
            "uid: must be a whole number",
        ),
        (
            f"hostenv-node-b-{C1}",
            {"node": "node-b", "environments": {USER: {"uid": "1002"}}},
            "uid: must be a whole number",
        ),
        (f"hostenv-node-b-{C1}", {"node": "node-b", "environments": {USER: 1002}}, "must be an object"),
    ],
)
def test_generation_that_is_not_this_nodes_is_refused(
    config: Config, machine: Machine, tmp_path: Path, name: str, content: object, complaint: str
) -> None:
    toplevel = tmp_path / "store" / f"{'0' * 32}-{name}"
    toplevel.mkdir(parents=True)
    if content is not None:
        text = json.dumps(content)
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        (toplevel / "slice.sha256").write_text(sha256)
        (tmp_path / "slices").mkdir()
        (tmp_path / "slices" / sha256).write_text(text)
    with pytest.raises(HostenvError, match=complaint):
        switch(config, toplevel)
    assert machine.calls() == []
    assert recorded(config) is None


def test_reapply_follows_comins_profile(config: Config, generation: Callable[..., Path]) -> None:
    assert reapply(config) is None
    generation(C1)
    reapply(config)
    assert recorded(config) == C1
    generation(C2)
    reapply(config)
    assert recorded(config) == C2


def test_one_generation_is_taken_over_at_a_time(
    config: Config, generation: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    free: list[bool] = []

    def look(config: Config, _wanted: object) -> None:
        with locked_if_free(config.state_dir / "switch.lock") as is_free:
            free.append(is_free)

    monkeypatch.setattr("hostenv_node.comin.switch.ensure_users", look)
    switch(config, generation(C1))
    generation(C2)
    reapply(config)
    assert recorded(config) == C2
    assert free == [False, False]


def silent(_sha256: str) -> str:
    raise Unreachable("no usable answer from http://provider to GET nodes/node-b/slice")


def test_a_slice_is_asked_for_only_when_it_is_another(
    config: Config, generation: Callable[..., Path]
) -> None:
    switch(config, generation(C1, environments={USER: {"uid": 1002}}))
    taking_over.switch(config, silent, generation(C2, environments={USER: {"uid": 1002}}))
    assert recorded(config) == C2
    with pytest.raises(Unreachable):
        taking_over.switch(config, silent, generation(C3))
    assert recorded(config) == C2


def test_what_is_not_the_slice_of_the_generation_is_refused(
    config: Config, machine: Machine, generation: Callable[..., Path]
) -> None:
    toplevel = generation(C1)
    other = json.dumps({"node": "node-b", "environments": {USER: {"uid": 1002}}})
    with pytest.raises(HostenvError, match="is not the slice"):
        taking_over.switch(config, lambda _: other, toplevel)
    assert machine.calls() == []
    assert recorded(config) is None
    assert not config.slice_file.exists()


@pytest.mark.parametrize("content", [b"", b"A" * 64, b"\xff" * 64, b"1" * 63])
def test_a_generation_without_a_hash_is_refused_before_anybody_is_asked(
    config: Config, generation: Callable[..., Path], content: bytes
) -> None:
    toplevel = generation(C1)
    (toplevel / "slice.sha256").write_bytes(content)
    with pytest.raises(HostenvError, match=r"slice\.sha256 holds no SHA-256"):
        taking_over.switch(config, silent, toplevel)


def test_a_damaged_slice_is_fetched_anew(config: Config, generation: Callable[..., Path]) -> None:
    switch(config, generation(C1, environments={USER: {"uid": 1002}}))
    for content in (b"", b"\xff", b"{"):
        config.slice_file.write_bytes(content)
        config.generation_file.unlink()
        assert reapply(config) is not None
        assert json.loads(config.slice_file.read_text())["environments"] == {USER: {"uid": 1002}}


def test_only_root_reads_what_a_switch_records(config: Config, generation: Callable[..., Path]) -> None:
    switch(config, generation(C1, environments={USER: {"uid": 1002}}))
    modes = {
        path.name: oct(path.stat().st_mode & 0o777) for path in config.state_dir.iterdir() if path.is_file()
    }
    files = ("generation.json", "slice.json", "switch.lock", "users.json")
    assert modes == dict.fromkeys(files, "0o600")


def test_who_completed_a_switch_is_recorded(config: Config, generation: Callable[..., Path]) -> None:
    first = generation(C1)
    switch(config, first)
    assert not Generation.recorded(config).late  # type: ignore[union-attr]
    second = generation(C2)
    reapply(config)
    switch(config, second)
    assert Generation.recorded(config).late  # type: ignore[union-attr]
