"""The shipped units: how exposed each service is, and that what is left out is explained."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[2]
# systemd's own measure, 0 to 10, times ten. The activation makes accounts and becomes them.
MOST_EXPOSURE = {
    "hostenv-activate.service": 35,
    "hostenv-runtime.service": 20,
    "hostenv-token.service": 15,
    "hostenv-provider.service": 30,
    "hostenv-git.service": 15,
    "hostenv-backups.service": 15,
    "hostenv-backups-reload.service": 15,
}
SERVICES = sorted(path for package in PACKAGES.iterdir() for path in package.glob("systemd/*.service"))
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


def test_every_service_has_a_limit() -> None:
    assert {path.name for path in SERVICES} == MOST_EXPOSURE.keys()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_a_service_is_no_more_exposed_than_its_work_needs(path: Path) -> None:
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true"]
    threshold = f"--threshold={MOST_EXPOSURE[path.name]}"
    answer = subprocess.run(
        [*command, threshold, path], check=False, capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 0, answer.stdout.splitlines()[-1:] + answer.stderr.splitlines()


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_what_is_left_out_is_explained_in_the_unit(path: Path) -> None:
    text = path.read_text()
    comments = " ".join(line for line in text.splitlines() if line.startswith("#"))
    for name in HARDENING:
        assert re.search(rf"^{name}=", text, re.MULTILINE) or name in comments, f"{name} is not mentioned"
    if "\nUser=" not in text:
        assert "root" in comments
