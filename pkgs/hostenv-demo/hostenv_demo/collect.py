"""Gathers, at the end of a run and while its machines are still up, what they know of it."""

import contextlib
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_lab.errors import MachineError

from hostenv_demo import evidence, report
from hostenv_demo.evidence import Recorder
from hostenv_demo.machines import Machine
from hostenv_demo.names import ENVIRONMENT
from hostenv_demo.provider_service import ProviderService
from hostenv_demo.visitors import NOTE_PREFIX

_SERVICE = "hostenv-provider.service"
# seconds; what does not answer by then is left out
_TIMEOUT = 60
_UNAVAILABLE = (HostenvError, MachineError)
# Prints `NAME<tab>FIRST LINE OF ITS VERSION` for each program that the machine's configuration names.
_VERSIONS = r"""
. /etc/os-release; printf 'system\t%s\n' "$PRETTY_NAME"; printf 'kernel\t%s\n' "$(uname -r)"
python3 -c 'import json, glob
for path in glob.glob("/etc/hostenv/*.json"):
    for name, tool in json.load(open(path)).get("tools", {}).items(): print(name, tool)' |
while read -r name tool; do
  case $name in
    git | nix | mariadbd | php | php-fpm | comin) said=$("$tool" --version 2>&1 | head -n 1) ;;
    restic) said=$("$tool" version 2>&1 | head -n 1) ;;
    nginx) said=$("$tool" -v 2>&1 | head -n 1) ;;
    *) continue ;;
  esac
  printf '%s\t%s\n' "$name" "${said:-unknown}"
done
for file in /opt/drupal/core/lib/Drupal.php /opt/drupal/web/core/lib/Drupal.php; do
  [ ! -e "$file" ] || printf 'Drupal\t%s\n' "$(sed -n "s/.*const VERSION = '\(.*\)'.*/\1/p" "$file")"
done
python3 --version | sed 's/^/Python\t/'
"""


class Collector:
    """Fills an evidence folder from the machines. A part that cannot be had is left out, never the rest."""

    def __init__(self, recorder: Recorder, folder: Path, service: ProviderService) -> None:
        self._recorder = recorder
        self._folder = folder
        self._service = service
        self._began = time.time()

    def jobs(self) -> None:
        """The provider's jobs as they are now."""
        with contextlib.suppress(*_UNAVAILABLE):
            self._recorder.document(evidence.JOBS, self._service.jobs())

    def versions(self, machines: Sequence[Machine]) -> None:
        """The programs of each machine that is up."""
        found = {machine.name: _versions(machine) for machine in machines if machine.is_up()}
        self._recorder.document(evidence.VERSIONS, found)

    def notes(self, node: Machine) -> None:
        """Which of the notes that visitors were promised are in that node's database, if it is up."""
        query = f"SELECT note FROM hostenv_demo_note WHERE note LIKE '{NOTE_PREFIX} %'"
        command = shlex.join(["su", "-", ENVIRONMENT, "-c", shlex.join(["mysql", "-N", "-e", query])])
        requests = evidence.load_requests(self._folder)
        if not requests or not node.is_up():
            return
        with contextlib.suppress(*_UNAVAILABLE):
            status, lines = node.execute(command, timeout=_TIMEOUT)
            if status == 0:
                notes = evidence.lost_notes(requests, frozenset(lines.splitlines()))
                self._recorder.document(evidence.NOTES, asdict(notes))

    def service_log(self, provider: Machine, path: Path) -> None:
        """The journal of the service, as `logs/provider-service.log`."""
        with contextlib.suppress(*_UNAVAILABLE):
            if provider.is_up():
                command = f"journalctl --no-pager --output short-iso --unit {_SERVICE}"
                _, lines = provider.execute(command, timeout=_TIMEOUT)
                path.write_text(lines, encoding="utf-8")

    def finish(self, error: str | None, parts: Mapping[str, str]) -> evidence.Evidence:
        """Write what the run was and the report about it; returns all of it."""
        setting = evidence.Setting(self._began, time.time(), error, parts)
        self._recorder.document(evidence.RUN, asdict(setting))
        found = evidence.load(self._folder)
        (self._folder / evidence.REPORT).write_text(report.render(found), encoding="utf-8")
        return found


def _versions(machine: Machine) -> dict[str, str]:
    try:
        _, lines = machine.execute(_VERSIONS, timeout=_TIMEOUT)
    except _UNAVAILABLE:
        return {}
    return dict(line.split("\t", 1) for line in lines.splitlines() if "\t" in line)
