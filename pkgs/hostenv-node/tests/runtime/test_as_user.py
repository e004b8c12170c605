"""Root's part of an operation: it becomes the environment's user, and understands what that one answers."""

import json
import pwd
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hostenv_core.errors import HostenvError
from hostenv_core.processes import CommandTimedOut, OutputTooLong
from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment.layout import Layout
from hostenv_node.environment.request import Request
from hostenv_node.environment.steps import LoadUnits, Tidy
from hostenv_node.errors import OperationFailed, OperationTimedOut
from hostenv_node.runtime.as_user import layout_of, stop_steps, user_apply
from hostenv_node.runtime.leftovers import Leftovers
from runtime_support import Systemd


@pytest.fixture
def answering(config: Config, played: Systemd, tmp_path: Path) -> Config:
    """The user's side keeps what it was given, and answers with the file `answer`."""
    program = tmp_path / "hostenv-node"
    program.write_text(
        f'#!/bin/sh\ncd {tmp_path}; cat >request; echo "$* $HOME $XDG_RUNTIME_DIR" >call\n'
        "cat answer; exit $(cat status)\n"
    )
    program.chmod(0o755)
    return replace(config, tools={**played.tools, "hostenv-node": str(program)})


def answer(folder: Path, status: int, document: object) -> None:
    (folder / "answer").write_text(json.dumps(document))
    (folder / "status").write_text(str(status))


def test_the_environments_user_does_it(
    answering: Config, played: Systemd, layout: Layout, tmp_path: Path
) -> None:
    answer(tmp_path, 0, {"results": {"LoadUnits": None}})
    assert user_apply(answering, layout, Deadline.after(600), [LoadUnits()]) == {LoadUnits: None}
    ran = played.told()[-1]
    assert f"--uid={layout.user}" in ran
    assert f"--slice=user-{layout.uid}.slice" in ran
    assert (tmp_path / "call").read_text() == f"user-apply {layout.home} /run/user/{layout.uid}\n"
    request = Request.from_json((tmp_path / "request").read_text())
    assert (request.layout, request.tools, request.steps) == (layout, answering.tools, (LoadUnits(),))
    assert request.timeout <= 595


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({"error": "disk full", "timedOut": False, "unitFailed": False}, OperationFailed),
        ({"error": "disk full", "timedOut": True, "unitFailed": False}, OperationTimedOut),
    ],
)
def test_what_it_could_not_do_is_told_apart(
    answering: Config, layout: Layout, tmp_path: Path, document: object, error: type[HostenvError]
) -> None:
    answer(tmp_path, 1, document)
    with pytest.raises(error, match=r"^disk full$") as raised:
        user_apply(answering, layout, Deadline.after(600), [LoadUnits()])
    assert raised.type is error


ENDLESS = "exec sleep 3600"
TALKATIVE = "exec yes"


@pytest.mark.parametrize(("script", "error"), [(ENDLESS, CommandTimedOut), (TALKATIVE, OutputTooLong)])
def test_what_is_cut_short_ends_with_all_that_it_started(
    answering: Config,
    played: Systemd,
    layout: Layout,
    script: str,
    error: type[HostenvError],
) -> None:
    Path(answering.tool("hostenv-node")).write_text(f"#!/bin/sh\n{script}\n")
    with pytest.raises(error, match=f"--uid={layout.user}"):
        user_apply(answering, layout, Deadline.after(2 if script == ENDLESS else 600), [LoadUnits()])
    assert [told[0] for told in played.told()] == ["systemctl", "systemd-run", "systemctl"]
    assert played.told()[-1] == ["systemctl", "stop", f"hostenv-step-{layout.uid}.service"]


def test_what_an_earlier_activation_left_ends_before_anything_begins(
    answering: Config, played: Systemd, layout: Layout, tmp_path: Path
) -> None:
    answer(tmp_path, 0, {"results": {}})
    user_apply(answering, layout, Deadline.after(600), [LoadUnits()])
    stopped, ran = played.told()
    assert stopped == ["systemctl", "stop", f"hostenv-step-{layout.uid}.service"]
    # one name for all of them, so that systemd refuses a second one beside the first
    assert f"--unit=hostenv-step-{layout.uid}.service" in ran


def test_no_answer_is_no_success(answering: Config, layout: Layout, tmp_path: Path) -> None:
    answer(tmp_path, 0, {"nothing": "said"})
    with pytest.raises(OperationFailed, match="gave no answer"):
        user_apply(answering, layout, Deadline.after(600), [LoadUnits()])


@pytest.mark.parametrize("status", [0, 1])
def test_what_the_user_could_not_remove_is_noted_until_it_is_gone(
    answering: Config, layout: Layout, tmp_path: Path, status: int
) -> None:
    leftovers = Leftovers(answering.leftovers_dir)
    said = {"results": {}, "error": "disk full", "timedOut": False, "unitFailed": False}

    def apply(left: object) -> str | None:
        answer(tmp_path, status, {**said, "left": left})
        with suppress(OperationFailed):
            user_apply(answering, layout, Deadline.after(600), [Tidy((), ())])
        return leftovers.reason(layout.user)

    assert apply(["cannot delete a: locked", "\x1b[2J"]) == "cannot delete a: locked; ?[2J"
    assert leftovers.rest(layout.user, time.time())
    assert not leftovers.rest(layout.user, time.time() + 3600)
    assert apply({"no": "list"}) is None
    assert apply([]) is None


def test_a_home_that_its_user_closed_is_opened(answering: Config, layout: Layout, tmp_path: Path) -> None:
    layout.home.chmod(0o100)
    answer(tmp_path, 0, {"results": {}})
    user_apply(answering, layout, Deadline.after(600), [LoadUnits()])
    assert layout.home.stat().st_mode & 0o777 == 0o700


def test_to_know_the_places_of_an_environment_no_home_is_looked_at(
    config: Config, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The unit that makes them at boot sees no home (ProtectHome).
    account = pwd.struct_passwd((layout.user, "x", layout.uid, layout.uid, "", str(layout.home), "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: account)
    monkeypatch.setattr(Path, "stat", lambda path, **_: pytest.fail(f"looks at {path}"))
    assert layout_of(config, layout.user, layout.uid, layout.codebase).home == layout.home


def test_what_a_job_left_running_as_its_users_is_ended(
    config: Config, played: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = {"shop": 1005, "blog": 1006}

    def getpwnam(name: str) -> pwd.struct_passwd:
        return pwd.struct_passwd((name, "x", accounts[name], accounts[name], "", "/", "/bin/sh"))

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    stop_steps(replace(config, tools=played.tools), ("shop", "gone", "blog"))
    assert played.told() == [["systemctl", "stop", f"hostenv-step-{uid}.service"] for uid in (1005, 1006)]
