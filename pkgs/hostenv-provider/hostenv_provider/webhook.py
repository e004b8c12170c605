"""What a Git host sends: who it is from and what it says (contract 4, webhooks). Data in, data out."""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import parse_qs

from hostenv_provider import names
from hostenv_provider.plan import Environment, Plan

_PUSH_EVENTS = frozenset({"push", "push hook", "system hook"})
_NO_COMMIT = frozenset("0")


@dataclass(frozen=True)
class Secret:
    """How a project's webhook is guarded: by a shared secret, or on purpose not at all (None)."""

    value: str | None = field(repr=False)


class Signature(Enum):
    """What became of the check of a delivery's signature."""

    VALID = "valid"
    MISSING = "missing webhook signature"
    WRONG = "invalid webhook signature"
    NOT_CONFIGURED = "no webhook secret is configured: run hostenv-provider project add"


@dataclass(frozen=True)
class Push:
    """A push to a branch; `ref` None means that the sender did not say which one."""

    ref: str | None


@dataclass(frozen=True)
class Ignored:
    """A delivery that starts nothing, and why."""

    reason: str


def check_signature(secret: Secret | None, headers: Mapping[str, str], body: bytes) -> Signature:
    """Whether a delivery is from somebody who knows the secret; `headers` has lower-case names.

    GitHub signs the raw body (X-Hub-Signature-256), GitLab repeats the secret (X-Gitlab-Token).
    """
    if secret is None:
        return Signature.NOT_CONFIGURED
    if secret.value is None:
        return Signature.VALID
    signature = headers.get("x-hub-signature-256")
    token = headers.get("x-gitlab-token")
    if signature is None and token is None:
        return Signature.MISSING
    key = secret.value.encode()
    expected = "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
    valid = False
    if signature is not None:
        valid |= hmac.compare_digest(signature.strip().lower().encode(), expected.encode())
    if token is not None:
        valid |= hmac.compare_digest(token.strip().encode(), key)
    return Signature.VALID if valid else Signature.WRONG


def delivery_id(headers: Mapping[str, str]) -> str | None:
    """The sender's id of a delivery, the same when it is sent again; None if it gives none."""
    for name in ("x-github-delivery", "idempotency-key", "x-gitlab-event-uuid"):
        value = headers.get(name, "").strip()
        if value:
            return value
    return None


def parse(headers: Mapping[str, str], body: bytes) -> Push | Ignored:
    """What a delivery says; an empty body is a push of an unnamed branch."""
    event = (headers.get("x-github-event") or headers.get("x-gitlab-event") or "push").strip()
    if event.lower() not in _PUSH_EVENTS:
        return Ignored(f"the event {event[:50]!r} is no push")
    if not body.strip():
        return Push(None)
    payload = _payload(headers.get("content-type", ""), body)
    if payload is None:
        return Ignored("the body is no JSON object")
    kind = payload.get("object_kind") or payload.get("event_name") or "push"
    if kind != "push":
        return Ignored(f"the event {str(kind)[:50]!r} is no push")
    ref = payload.get("ref")
    if ref is None:
        return Push(None)
    if not isinstance(ref, str) or not ref:
        return Ignored("ref is no text")
    after = payload.get("after")
    if payload.get("deleted") is True or (isinstance(after, str) and after and set(after) == _NO_COMMIT):
        return Ignored(f"{ref[:200]} was deleted")
    if ref.startswith("refs/") and names.branch(ref) == ref:
        return Ignored(f"{ref[:200]} is no branch")
    return Push(names.branch(ref))


def _payload(content_type: str, body: bytes) -> dict[str, object] | None:
    text: str | bytes = body
    is_form = content_type.split(";")[0].strip().lower() == "application/x-www-form-urlencoded"
    try:
        # Clients like curl send plain JSON with this type too, unless they are told otherwise.
        if is_form and not body.lstrip().startswith(b"{"):
            text = parse_qs(body.decode("ascii"), max_num_fields=20)["payload"][0]
        payload = json.loads(text)
    except (ValueError, KeyError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None


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
