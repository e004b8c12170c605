"""Writes down the arguments of every process that it sees, each once, until it is ended.

usage: arguments.py FILE
"""

import sys
import time
from pathlib import Path

PERIOD = 0.01


def main() -> None:
    seen: set[bytes] = set()
    with Path(sys.argv[1]).open("ab", buffering=0) as file:
        while True:
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    arguments = path.read_bytes().replace(b"\0", b" ")
                except OSError:
                    continue
                if arguments and arguments not in seen:
                    seen.add(arguments)
                    file.write(arguments + b"\n")
            time.sleep(PERIOD)


main()
