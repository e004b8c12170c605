"""Who a request is from and what its sender may read (contract 4, node authentication; contract 1, /git/)."""

import base64
import re
from collections.abc import Callable, Collection, Mapping

from hostenv_core.names import is_node_name

from hostenv_provider.secrets.tokens import TokenFile
from hostenv_provider.store.node_commits import NodeCommits
from hostenv_provider.web.messages import HttpAnswer, HttpError, HttpRequest

PUBLIC_MARK = "x-hostenv-public"
"""nginx puts this header on every request that comes from the network."""

_GIT_READ = re.compile(
    r"/git/(?P<repository>provider|nodes/[a-z0-9-]+|[a-z0-9]+__[a-z0-9]+)\.git/"
    r"(?P<service>info/refs\?service=git-upload-pack|git-upload-pack)"
)


class Access:
    """Checks of node tokens; `nodes` are those of the plan."""

    def __init__(self, tokens: TokenFile, store: NodeCommits, nodes: Callable[[], Collection[str]]) -> None:
        self._tokens = tokens
        self._store = store
        self._nodes = nodes

    def require_node(self, request: HttpRequest, node: str) -> None:
        """Raises HttpError 403 unless the request carries a token of this node."""
        if not self._is_node(node, _bearer_token(request.headers)):
            raise HttpError(403, "forbidden")

    def require_any_node(self, request: HttpRequest) -> None:
        """Raises HttpError 403 without a token of some node; for what names the node in its body."""
        if not self._tokens.is_known(_bearer_token(request.headers)):
            raise HttpError(403, "forbidden")

    def git(self, request: HttpRequest) -> HttpAnswer:
        """nginx asks whether to let a request of `/git/` through: 204 yes, 401 who are you, 403 no."""
        node, token = basic_credentials(request.headers)
        if not self._is_node(node, token):
            raise HttpError(401, "give node name and token", {"WWW-Authenticate": 'Basic realm="hostenv"'})
        # Only these exact forms: what is spelled otherwise, or would write, is not even interpreted.
        match = _GIT_READ.fullmatch(request.headers.get("x-original-uri", ""))
        method = request.headers.get("x-original-method", "")
        if match is None or method != ("GET" if "?" in match["service"] else "POST"):
            raise HttpError(403, "forbidden")
        # The token of a node that is gone may not have been removed yet.
        if node not in self._nodes():
            raise HttpError(403, "forbidden")
        if not self._may_read(node, match["repository"], fetches=method == "POST"):
            raise HttpError(403, "forbidden")
        return HttpAnswer(204)

    def _may_read(self, node: str, repository: str, *, fetches: bool) -> bool:
        if repository == f"nodes/{node}":
            if fetches and self._store.follows_provider(node):
                self._store.end_following(node)
            return True
        if repository == "provider":
            return self._store.follows_provider(node)
        return "/" not in repository and self._store.may_read_source(node, repository)

    def _is_node(self, node: str, token: str) -> bool:
        return is_node_name(node) and self._tokens.is_valid(node, token)


def _bearer_token(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def basic_credentials(headers: Mapping[str, str]) -> tuple[str, str]:
    """Name and password of HTTP's basic authentication; empty without it."""
    scheme, _, credentials = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _, password = base64.b64decode(credentials.strip(), validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return name, password
