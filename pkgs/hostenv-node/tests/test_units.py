"""The shipped units: systemd takes them as they are written, how exposed each service is, what is left out.

What systemd makes of them on a machine is asked in tests/scenarios/access.py.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from runtime_support import needs

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


# What cannot be on a machine that only reads the units: the programs, and the units of others.
ELSEWHERE = re.compile(r"Command \S+ is not executable|Unit \S+ not found")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The shipped units, laid as on a machine, beside a part of those that they add to."""
    units = tmp_path / "usr/lib/systemd/system"
    for folder in PACKAGES.glob("*/systemd"):
        shutil.copytree(folder, units, dirs_exist_ok=True)
    for name in ("comin.service", "nginx.service"):
        (units / name).write_text("[Service]\nExecStart=/usr/bin/true\n")
    (units / "hostenv-step-1002.service").write_text(STEP_SECTION)
    # an empty file would be a masked unit
    for name in ("user-1002.slice", "sysinit.target", "basic.target", "shutdown.target"):
        (units / name).write_text("[Unit]\n")
    return tmp_path


def complaints(root: Path) -> list[str]:
    """What systemd has to say of the units that it cannot take as they are written."""
    units = [path.name for path in (root / "usr/lib/systemd/system").iterdir() if path.is_file()]
    answer = subprocess.run(
        ["systemd-analyze", f"--root={root}", "verify", *units],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return [line for line in answer.stderr.splitlines() if not ELSEWHERE.search(line)]


@needs("systemd-analyze")
def test_systemd_takes_every_line(root: Path) -> None:
    assert complaints(root) == []
    dropped_in = root / "usr/lib/systemd/system/comin.service.d/10-hostenv.conf"
    dropped_in.write_text(dropped_in.read_text().replace("Restart=", "Restarts="))
    assert any("Restarts" in line for line in complaints(root))


def test_every_service_has_a_limit() -> None:
    assert SERVICES.keys() == MOST_EXPOSURE.keys()


@needs("systemd-analyze")
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
