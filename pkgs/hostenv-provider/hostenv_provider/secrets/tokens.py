"""Node tokens: made by `comin-tokens`, checked by the API, replaced without a restart (contract 4, 6)."""

import hashlib
import hmac
import secrets
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.files import Stamp, read_json, read_strings, stamp, write_json
from hostenv_core.json_value import Value
from hostenv_core.locks import locked

from hostenv_provider.config import Config


@dataclass(frozen=True)
class Tokens:
    """Each node's token, and earlier ones that stay valid until the new one has been used."""

    current: Mapping[str, str]
    previous: Mapping[str, tuple[str, ...]]


def matches(tokens: Tokens, node: str, given: str) -> tuple[bool, bool]:
    """Whether `given` is valid for `node`, and whether it is the node's current token.

    All candidates are compared, in constant time each, so that the answer's time reveals nothing about them.
    """
    candidate = given.encode()
    current = tokens.current.get(node, "")
    is_current = hmac.compare_digest(candidate, current.encode()) and current != ""
    is_previous = False
    for old in tokens.previous.get(node, ()):
        is_previous |= hmac.compare_digest(candidate, old.encode()) and old != ""
    return is_current or is_previous, is_current


class TokenFile:
    """The tokens file and the file of those it replaced, reloaded when they change."""

    def __init__(self, config: Config) -> None:
        self._path = config.tokens_file
        self._previous_path = config.previous_tokens_file
        self._lock_path = config.tokens_file.with_suffix(".lock")
        self._lock = threading.Lock()
        self._stamps: tuple[Stamp | None, Stamp | None] | None = None
        self._tokens = Tokens({}, {})
        self._digests: frozenset[bytes] = frozenset()

    def is_valid(self, node: str, given: str) -> bool:
        """Whether `given` is a valid token of `node`; the first use of a new token ends the old ones.

        Raises HostenvError if the files cannot be read.
        """
        tokens = self._load()
        valid, current = matches(tokens, node, given)
        if current and node in tokens.previous:
            self._forget_previous(node, given)
        return valid

    def is_known(self, given: str) -> bool:
        """Whether `given` is a token of any node. Raises HostenvError as `is_valid`."""
        self._load()
        return _digest(given) in self._digests

    def show(self, node: str) -> str:
        """The node's token. Raises HostenvError if it has none."""
        token = self._load().current.get(node)
        if token is None:
            raise HostenvError(
                f"no token for node {node!r}: is it in provider.json? run hostenv-provider comin-tokens"
            )
        return token

    def missing(self, nodes: Iterable[str]) -> list[str]:
        """Which of these nodes have no token yet."""
        current = self._load().current
        return sorted(node for node in nodes if node not in current)

    def others(self, nodes: Iterable[str]) -> list[str]:
        """Which nodes other than these have a token."""
        tokens = self._load()
        return sorted({*tokens.current, *tokens.previous}.difference(nodes))

    def create(self, nodes: Iterable[str]) -> None:
        """Give every one of these nodes that has no token a new one; the others keep theirs."""
        with locked(self._lock_path):
            current = dict(read_strings(self._path))
            for node in nodes:
                current.setdefault(node, secrets.token_hex(32))
            self._write(self._path, current)

    def revoke(self, nodes: Collection[str]) -> None:
        """Remove all tokens of these nodes."""
        with locked(self._lock_path):
            current, previous = read_strings(self._path), _read_previous(self._previous_path)
            self._write(self._path, {node: each for node, each in current.items() if node not in nodes})
            self._write(
                self._previous_path, {node: each for node, each in previous.items() if node not in nodes}
            )

    def rotate(self, nodes: Iterable[str]) -> None:
        """Replace the tokens of these nodes; each old one stays valid until the new one has been used.

        Raises HostenvError, with nothing changed, if one of them has none.
        """
        with locked(self._lock_path):
            current, previous = dict(read_strings(self._path)), _read_previous(self._previous_path)
            replaced = {}
            for node in nodes:
                if node not in current:
                    raise HostenvError(f"no token for node {node!r}: run hostenv-provider comin-tokens first")
                previous[node] = (*previous.get(node, ()), current[node])
                replaced[node] = secrets.token_hex(32)
            # Old ones first: a crash between the two writes then leaves each node a token that works.
            self._write(self._previous_path, previous)
            self._write(self._path, {**current, **replaced})

    def replace(self, node: str) -> bool:
        """Replace a node's token; it and all earlier ones end at once. Returns whether it had one."""
        with locked(self._lock_path):
            current, previous = dict(read_strings(self._path)), _read_previous(self._previous_path)
            known = node in current
            if known:
                self._write(self._path, {**current, node: secrets.token_hex(32)})
            if previous.pop(node, None) is not None:
                self._write(self._previous_path, previous)
        return known

    def _forget_previous(self, node: str, used: str) -> None:
        with locked(self._lock_path):
            newest = read_strings(self._path).get(node, "")
            if not hmac.compare_digest(used.encode(), newest.encode()):
                # Replaced since it was compared: it is a previous one itself, and the newest was never used.
                return
            previous = _read_previous(self._previous_path)
            if previous.pop(node, None) is not None:
                self._write(self._previous_path, previous)

    def _load(self) -> Tokens:
        with self._lock:
            stamps = stamp(self._path), stamp(self._previous_path)
            if stamps != self._stamps:
                self._tokens = Tokens(read_strings(self._path), _read_previous(self._previous_path))
                known = (*self._tokens.current.values(), *chain(*self._tokens.previous.values()))
                # By their digests, so that the time of a search reveals nothing about a token.
                self._digests = frozenset(_digest(token) for token in known if token)
                self._stamps = stamps
            return self._tokens

    @staticmethod
    def _write(path: Path, document: Mapping[str, object]) -> None:
        write_json(path, document)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _read_previous(path: Path) -> dict[str, tuple[str, ...]]:
    document = Value(read_json(path) or {}, path, most=None, remedy="restore it")
    return {node: tuple(each.text() for each in tokens.items()) for node, tokens in document.object().items()}
