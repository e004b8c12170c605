"""What a Git host sends: who it is from and what it says (contract 4, webhooks). Data in, data out."""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote_to_bytes

from hostenv_core import names

from hostenv_provider.plan.lock_file import HEAD, Input
from hostenv_provider.plan.plan import Environment, Plan
from hostenv_provider.secrets.webhook_secrets import Secret

_PUSH_EVENTS = frozenset({"push", "push hook", "system hook"})
_NO_COMMIT = frozenset("0")
# What is read of a payload; all else, nearly all of a large one, is forgotten while it is read.
_MEMBERS = frozenset(
    {"object_kind", "event_name", "ref", "after", "deleted", "repository", "project", "default_branch"}
)
_FORM_PAYLOAD = re.compile(rb"(?:\A|&)payload=([^&]*)")
_UNQUOTED_AT_ONCE = 65536


class Signature(Enum):
    """The result of the check of a delivery's signature."""

    VALID = "valid"
    PREVIOUS = "valid, of a secret that was replaced"
    MISSING = "missing webhook signature"
    WRONG = "invalid webhook signature"

    @property
    def passes(self) -> bool:
        """Whether the delivery is from somebody who knows a secret that is good."""
        return self in (Signature.VALID, Signature.PREVIOUS)


@dataclass(frozen=True)
class Push:
    """A push to a branch; `ref` or `commit` None means that the sender did not say which one.

    `default_branch` is the repository's own at that time, if the sender says so.
    """

    ref: str | None
    default_branch: str | None = None
    commit: str | None = None


@dataclass(frozen=True)
class Ignored:
    """A delivery that starts nothing, and why."""

    reason: str


def check_signature(
    secret: Secret | None, headers: Mapping[str, str], body: Callable[[], bytes]
) -> Signature:
    """Whether a delivery is from somebody who knows the secret; `headers` has lower-case names.

    GitHub signs the raw body (X-Hub-Signature-256), GitLab repeats the secret (X-Gitlab-Token). `body` is
    called only where a signature of it is to be checked. Without a secret (None) nobody passes, and nobody
    learns that there is none.
    """
    if secret is not None and secret.value is None:
        return Signature.VALID
    signature = headers.get("x-hub-signature-256")
    token = headers.get("x-gitlab-token")
    if signature is None and token is None:
        return Signature.MISSING
    if secret is None or secret.value is None:
        return Signature.WRONG
    signed = b"" if signature is None else body()

    def proves(value: str) -> bool:
        key, valid = value.encode(), False
        if signature is not None:
            expected = "sha256=" + hmac.new(key, signed, hashlib.sha256).hexdigest()
            valid |= hmac.compare_digest(signature.strip().lower().encode(), expected.encode())
        if token is not None:
            valid |= hmac.compare_digest(token.strip().encode(), key)
        return valid

    # All are tried, so that the answer's time tells nothing of them.
    current, previous = proves(secret.value), [proves(value) for value in secret.previous]
    if current:
        return Signature.VALID
    return Signature.PREVIOUS if any(previous) else Signature.WRONG


def delivery_id(headers: Mapping[str, str], secret: Secret | None, push: Push) -> str | None:
    """What is the same when a delivery, whose signature was found valid, is sent again; None if nothing is.

    GitHub's id is outside of its signature: who repeats a delivery could give it another. So a signed push
    to a commit is known by its signature. A script may well sign the same words each time, without a commit.
    """
    signature = headers.get("x-hub-signature-256")
    if signature is not None and secret is not None and secret.value is not None and push.commit is not None:
        return signature.strip().lower()
    for name in ("x-github-delivery", "idempotency-key", "x-gitlab-event-uuid"):
        value = headers.get(name, "").strip()
        if value:
            return value
    return None


def parse(headers: Mapping[str, str], body: bytes) -> Push | Ignored:
    """What a delivery says; an empty body is a push of an unnamed branch."""
    event = (headers.get("x-github-event") or headers.get("x-gitlab-event") or "push").strip()
    if event.lower() not in _PUSH_EVENTS:
        return Ignored(f"the event {event[:50]!r} is not a push")
    if not body or body.isspace():
        return Push(None)
    payload = _payload(headers.get("content-type", ""), body)
    if payload is None:
        return Ignored("the body is no JSON object")
    kind = payload.get("object_kind") or payload.get("event_name") or "push"
    if kind != "push":
        return Ignored(f"the event {str(kind)[:50]!r} is not a push")
    ref = payload.get("ref")
    if ref is None:
        return Push(None)
    if not isinstance(ref, str) or not ref:
        return Ignored("ref is not a string")
    after = payload.get("after")
    if payload.get("deleted") is True or (isinstance(after, str) and after and set(after) == _NO_COMMIT):
        return Ignored(f"{ref[:200]} was deleted")
    if ref.startswith("refs/") and names.branch(ref) == ref:
        return Ignored(f"{ref[:200]} is not a branch")
    commit = after if isinstance(after, str) and after else None
    return Push(names.branch(ref), _default_branch(payload), commit)


def _default_branch(payload: Mapping[str, object]) -> str | None:
    # GitHub and those like it say `repository`, GitLab says `project`.
    for key in ("repository", "project"):
        described = payload.get(key)
        if isinstance(described, dict) and isinstance(described.get("default_branch"), str):
            return str(described["default_branch"])
    return None


def _payload(content_type: str, body: bytes) -> dict[str, object] | None:
    is_form = content_type.split(";")[0].strip().lower() == "application/x-www-form-urlencoded"
    try:
        # Clients like curl send plain JSON with this type too, unless they are told otherwise.
        if is_form and re.match(rb"\s*\{", body) is None:
            body = _form_payload(body)
        payload = json.loads(body, object_pairs_hook=_known_members)
    except (ValueError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None


def _known_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    return {key: value for key, value in pairs if key in _MEMBERS}


def _form_payload(body: bytes) -> bytes:
    """The form's field `payload`, b"" if it has none."""
    found = _FORM_PAYLOAD.search(body)
    if found is None:
        return b""
    payload = bytearray()
    # Piece by piece: the standard library needs many times the memory for a whole one.
    position, end = found.span(1)
    while position < end:
        stop = min(position + _UNQUOTED_AT_ONCE, end)
        escape = body.rfind(b"%", stop - 2, stop)
        if stop < end and escape != -1:
            stop = escape
        payload += unquote_to_bytes(body[position:stop].replace(b"+", b" "))
        position = stop
    return bytes(payload)


def projects_of_hash(plan: Plan, project_hash: str) -> list[str]:
    """The projects, `<org>__<project>`, with an environment of this hash; the contract wants exactly one."""
    return sorted(
        {each.project_key for each in plan.environments.values() if each.project_name_hash == project_hash}
    )


def follows(environments: Iterable[Environment], push: Push) -> bool:
    """Whether a push concerns one of these environments: an enabled one whose `gitRef` it is."""
    enabled = [environment for environment in environments if environment.enable]
    if push.ref is None:
        return bool(enabled)
    return any(names.branch(environment.source.ref) == push.ref for environment in enabled)


def plans(flake: Input, push: Push) -> bool:
    """Whether a push is to the branch from which the project's flake is read, and so may change its plan.

    Where that is the default branch, the sender knows best which one that is now.
    """
    branch = flake.branch
    if flake.reference == HEAD and push.default_branch is not None:
        branch = push.default_branch
    return push.ref is not None and push.ref == branch
