"""Writes down in which control groups processes of environments' users are, each once, until it is ended.

A line is the user's number and a line of `/proc/<pid>/cgroup`.

usage: control_groups.py FILE
"""

import json
import sys
import time
from pathlib import Path

PERIOD = 0.02
USERS = Path("/var/lib/hostenv/users.json")


def main() -> None:
    seen: set[str] = set()
    with Path(sys.argv[1]).open("a", buffering=1) as file:
        while True:
            users = set(json.loads(USERS.read_text()).values()) if USERS.exists() else set()
            for path in Path("/proc").glob("[0-9]*"):
                try:
                    uid = path.stat().st_uid
                    groups = (path / "cgroup").read_text() if uid in users else ""
                except OSError:
                    continue
                for line in {f"{uid} {group}" for group in groups.splitlines()} - seen:
                    seen.add(line)
                    file.write(f"{line}\n")
            time.sleep(PERIOD)


main()
