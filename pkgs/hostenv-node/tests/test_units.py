"""The shipped units: how exposed each service is, and that what is left out is explained."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[2]
# systemd's own measure, 0 to 10, times ten. The activation makes accounts, a job opens and closes them.
MOST_EXPOSURE = {
    "hostenv-activate.service": 28,
    "hostenv-job@.service": 30,
    "hostenv-runtime.service": 20,
    "hostenv-step-.service": 25,
    "hostenv-token.service": 15,
    "hostenv-provider.service": 30,
    "hostenv-evaluate@.service": 15,
    "hostenv-git.service": 15,
    "hostenv-backups.service": 15,
}
SHIPPED = sorted(path for package in PACKAGES.iterdir() for path in package.glob("systemd/*.service"))
# systemd-run makes the unit, and says whose it is.
STEP = PACKAGES / "hostenv-node/systemd/hostenv-step-.service.d/10-hostenv.conf"
STEP_SECTION = "[Service]\nUser=shop\nExecStart=/usr/bin/hostenv-node user-apply\n"
SERVICES = {path.name: path.read_text() for path in SHIPPED} | {
    STEP.parent.name.removesuffix(".d"): STEP_SECTION + STEP.read_text()
}
HARDENING = (
    "CapabilityBoundingSet",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "NoNewPrivileges",
    "PrivateDevices",
    "PrivateTmp",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "ProtectSystem",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "SystemCallArchitectures",
    "SystemCallFilter",
)


# What contract 8 promises and a unit alone keeps.
RULES = [
    ("comin.service.d/10-hostenv.conf", "ConditionFileNotEmpty=/etc/hostenv/node-token"),
    ("comin.service.d/10-hostenv.conf", "ExecStartPre=/usr/bin/hostenv-node prepare-comin"),
    ("comin.service.d/10-hostenv.conf", "Restart=always"),
    ("comin.service.d/10-hostenv.conf", "StartLimitIntervalSec=0"),
    ("hostenv-token.path", "PathChanged=/etc/hostenv/node-token"),
    ("hostenv-token.service", "ExecStart=/usr/bin/systemctl --no-block restart comin.service"),
    ("hostenv-token.service", "ExecStart=/usr/bin/systemctl --no-block start hostenv-activate.service"),
    ("hostenv-activate.timer", "OnBootSec=1s"),
    ("hostenv-activate.timer", "OnUnitInactiveSec=30s"),
    # each action has its own limit, and waiting for another node is none
    ("hostenv-job@.service", "TimeoutStartSec=infinity"),
    ("hostenv-job@.service", "StartLimitIntervalSec=0"),
    # nothing that runs by an environment's user outlives who asked for it, nor its own answer
    ("hostenv-job@.service", "ExecStopPost=-/usr/bin/hostenv-node stop-steps %i"),
    ("hostenv-step-.service.d/10-hostenv.conf", "KillSignal=SIGKILL"),
    ("user-.slice.d/10-hostenv.conf", "StopWhenUnneeded=no"),
    # a freeze is in force, and an environment has its folders, before anybody can be served
    ("hostenv-runtime.service", "Before=systemd-logind.service nginx.service"),
    ("hostenv-runtime.service", "ExecStart=/usr/bin/hostenv-node boot"),
]


@pytest.mark.parametrize(("unit", "line"), RULES)
def test_a_unit_keeps_its_promise(unit: str, line: str) -> None:
    (path,) = PACKAGES.glob(f"*/systemd/{unit}")
    assert line in path.read_text().splitlines()


def test_backups_only_grow() -> None:
    (path,) = PACKAGES.glob("*/systemd/hostenv-backups.service")
    (command,) = (line for line in path.read_text().splitlines() if line.startswith("ExecStart="))
    assert "--append-only" in command.split()


def test_only_root_reaches_comins_control_socket() -> None:
    text = (PACKAGES / "hostenv-node/tmpfiles.d/hostenv-node.conf").read_text()
    made = [line.split() for line in text.splitlines()]
    assert ["d", "/var/lib/private", "0700", "root", "root", "-"] in made
    assert ["L", "/var/lib/comin", "-", "-", "-", "-", "private/comin"] in made


def test_every_service_has_a_limit() -> None:
    assert SERVICES.keys() == MOST_EXPOSURE.keys()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_no_more_exposed_than_its_work_needs(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(SERVICES[name])
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true"]
    threshold = f"--threshold={MOST_EXPOSURE[name]}"
    answer = subprocess.run(
        [*command, threshold, path], check=False, capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 0, answer.stdout.splitlines()[-1:] + answer.stderr.splitlines()


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_left_out_is_explained_in_the_unit(name: str) -> None:
    text = SERVICES[name]
    comments = " ".join(line for line in text.splitlines() if line.startswith("#"))
    for setting in HARDENING:
        assert re.search(rf"^{setting}=", text, re.MULTILINE) or setting in comments, f"{setting} is missing"
    if "\nUser=" not in text and "\nDynamicUser=yes" not in text:
        assert "root" in comments
