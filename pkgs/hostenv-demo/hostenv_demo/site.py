"""The demo's site as a visitor finds it: whichever node answers."""

import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from hostenv_demo.names import VIRTUAL_HOST

_TIMEOUT = 15.0
_SAFE = ("GET", "HEAD")
# before another look at the nodes, when every one of them has closed the connection
_PAUSE = 0.05


@dataclass(frozen=True)
class Answer:
    """What came back. `node` is None if no node answered; `status` is then 0."""

    node: str | None
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def has(self, header: str) -> bool:
        """Whether the answer carries this header."""
        return any(name.lower() == header.lower() for name, _ in self.headers)


class Site:
    """Asks the node that answered last, and the others where that one closes the connection.

    A write that was sent and not answered in time may have been accepted: it is not repeated elsewhere.

    `endpoints` maps nodes to `http://ADDRESS:PORT` on this host. Not for several threads at once.
    """

    def __init__(self, endpoints: Mapping[str, str]) -> None:
        self._endpoints = dict(endpoints)
        self._nodes = list(endpoints)

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask for a page of the site."""
        for node in list(self._nodes):
            try:
                answer = self._ask(node, method, path, body, headers or {})
            except ConnectionError:
                continue
            except (OSError, http.client.HTTPException):
                if method in _SAFE:
                    continue
                break
            self._nodes = [node, *(other for other in self._endpoints if other != node)]
            return answer
        time.sleep(_PAUSE)
        return Answer(None, 0, (), b"")

    def _ask(self, node: str, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        address = urlsplit(self._endpoints[node])
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_TIMEOUT)
        try:
            connection.request(
                method, path, body or None, {**headers, "Host": VIRTUAL_HOST, "Connection": "close"}
            )
            response = connection.getresponse()
            return Answer(node, response.status, tuple(response.getheaders()), response.read())
        finally:
            connection.close()
