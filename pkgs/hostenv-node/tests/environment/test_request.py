"""Every step arrives on the user's side as root sent it."""

import json
from pathlib import Path
from typing import get_args

import pytest
from hostenv_core.checks import Check, Constraint
from hostenv_node.environment import steps
from hostenv_node.environment.layout import Layout
from hostenv_node.environment.request import Request
from hostenv_node.errors import OperationFailed

FILE = steps.File("/home/a/b", "é", 0o600)
FILES = {"nginx.service": ("/home/a/nginx.conf",)}
CHECK = Check("page", "h.example", "/", (Constraint("minHttpStatus", 200), Constraint("bodyContains", "x")))
STEPS: tuple[steps.Step, ...] = (
    steps.WriteFiles(("/home/a",), (FILE,)),
    steps.WriteSecrets((FILE,)),
    steps.LoadUnits(),
    steps.StartUnits(FILES),
    steps.RefreshUnits(FILES),
    steps.StopUnits(manager_runs=False),
    steps.EndProcesses(),
    steps.BeginRelease("r"),
    steps.DropRelease("r"),
    steps.LayOutRelease("r", "web", None),
    steps.LayOutRelease("r", "web", steps.OperatorCode("/opt/drupal", ".")),
    steps.CheckCandidate("r", "h.example", (CHECK,), "php"),
    steps.ActivateRelease("r", ("old",)),
    steps.Tidy(("/home/a/set-aside",), ()),
    steps.EnsureDatabase(FILES),
    steps.PrepareApplication("r", "minimal", "h.example", update=True),
    steps.Freeze(),
    steps.Hold(("default.target",)),
    steps.Thaw(),
    steps.FindLosses(),
    steps.CheckData(),
    steps.Backup(("key",), repository=True, physical=True, live=False),
    steps.LastDelta(),
    steps.MakeDelta(1, compare=True),
    steps.MakeRest(),
    steps.ReceiveBase(FILES),
    steps.TakeInDelta(1),
    steps.TakenIn(),
    steps.Restore("job", "key", "ab"),
)


@pytest.fixture
def request_of_all(layout: Layout) -> Request:
    return Request(layout, {"git": "/usr/bin/git"}, 1.5, STEPS)


def test_every_step_arrives_as_it_was(request_of_all: Request) -> None:
    assert {type(step) for step in STEPS} == set(get_args(steps.Step))
    assert Request.from_json(request_of_all.to_json()) == request_of_all
    assert isinstance(request_of_all.layout.home, Path)


@pytest.mark.parametrize(
    "step",
    [
        ["Unknown", {}],
        ["Thaw", {"user": "a"}],
        ["BeginRelease", {}],
        ["BeginRelease", {"name": None}],
        ["BeginRelease", "name"],
        ["StopUnits", {"manager_runs": 1}],
        ["WriteSecrets", {"files": [["/home/a", "", 0o600]]}],
        ["Hold", {"units": [1]}],
    ],
)
def test_a_request_of_another_version_is_refused_with_what_to_do(
    request_of_all: Request, step: object
) -> None:
    values = json.loads(request_of_all.to_json())
    with pytest.raises(OperationFailed, match="install one version of hostenv-node"):
        Request.from_json(json.dumps({**values, "steps": [step]}))
