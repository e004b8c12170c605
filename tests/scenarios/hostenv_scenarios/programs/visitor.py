"""A visitor who knows both nodes: reads pages and writes notes ten times a second, and logs every answer.

usage: visitor.py LOG HOST RUN NODE...

A line of the log is one request as JSON: `at` is when it ended, in seconds of a clock that only rises;
`status` is null when no answer came, so that nobody knows what became of it. No note is ever sent twice.
SIGTERM ends it when the requests under way have ended.
"""

import http.client
import json
import signal
import sys
import threading
import time
from typing import TextIO
from urllib.parse import urlencode

PERIOD = 0.1
TIMEOUT = 5.0


def request(node: str, host: str, note: str | None) -> int | None:
    """Make one request; its status, or None when no answer came."""
    connection = http.client.HTTPConnection(node, timeout=TIMEOUT)
    try:
        if note is None:
            connection.request("GET", "/", headers={"Host": host})
        else:
            headers = {"Host": host, "Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", "/notes", urlencode({"note": note}), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


class Visitor:
    """Threads that each repeat one kind of request to one node."""

    def __init__(self, log: TextIO, host: str, run: str) -> None:
        self._log = log
        self._host = host
        self._run = run
        self._lock = threading.Lock()
        self.stop = threading.Event()

    def visit(self, node: str, writes: bool) -> None:
        """Repeat requests until `stop` is set."""
        number = 0
        while not self.stop.is_set():
            began = time.monotonic()
            number += 1
            note = f"{self._run} {node} {number}" if writes else None
            status = request(node, self._host, note)
            line = json.dumps({"at": time.monotonic(), "node": node, "note": note, "status": status})
            with self._lock:
                self._log.write(line + "\n")
            self.stop.wait(max(0.0, began + PERIOD - time.monotonic()))


def main(arguments: list[str]) -> None:
    path, host, run, *nodes = arguments
    with open(path, "a", encoding="utf-8", buffering=1) as log:
        visitor = Visitor(log, host, run)
        signal.signal(signal.SIGTERM, lambda *_: visitor.stop.set())
        threads = [
            threading.Thread(target=visitor.visit, args=(node, writes))
            for node in nodes
            for writes in (False, True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(sys.argv[1:])
