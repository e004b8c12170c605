"""The projects' webhook secrets: made by `project add`, read by the service at every delivery."""

import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from hostenv_core.errors import HostenvError
from hostenv_core.files import read_json, write_json
from hostenv_core.json_value import Value
from hostenv_core.locks import locked

from hostenv_provider.config import Config


@dataclass(frozen=True)
class Secret:
    """How a project's webhook is guarded: by a shared secret, or on purpose not at all (None).

    `previous` are those before it, which are accepted until the new one has been used.
    """

    value: str | None = field(repr=False)
    previous: tuple[str, ...] = field(default=(), repr=False)


def create(config: Config, project: str) -> str:
    """Make and return a new secret of the project `<org>__<project>`; all earlier ones end.

    Raises HostenvError if it cannot be written.
    """
    value = secrets.token_hex(32)
    with _locked(config):
        _write(config, project, {"secret": value})
    return value


def leave_open(config: Config, project: str) -> None:
    """Let anybody start jobs of the project (`project add --open-webhook`, for the demo).

    Raises HostenvError if that cannot be written.
    """
    with _locked(config):
        _write(config, project, {"open": True})


def guarded(config: Config) -> list[str]:
    """The projects whose webhook has a secret. Raises HostenvError."""
    projects = sorted(path.stem for path in config.webhook_secrets_dir.glob("*.json"))
    return [
        project
        for project in projects
        if (secret := read(config, project)) is not None and secret.value is not None
    ]


def rotate(config: Config, project: str) -> str:
    """Replace a project's secret and return it; the old one is valid until the new one has been used.

    Raises HostenvError if the webhook has none.
    """
    value = secrets.token_hex(32)
    with _locked(config):
        before = read(config, project)
        if before is None or before.value is None:
            raise HostenvError(f"{project}: its webhook has no secret: run hostenv-provider project add")
        _write(config, project, {"secret": value, "previous": [*before.previous, before.value]})
    return value


def forget_previous(config: Config, project: str, used: Secret) -> None:
    """End the secrets before the one that was used, unless that one was itself replaced meanwhile.

    Raises HostenvError.
    """
    with _locked(config):
        if read(config, project) == used:
            _write(config, project, {"secret": used.value})


def read(config: Config, project: str) -> Secret | None:
    """How the project's webhook is guarded; None if nothing was ever decided, so that nobody passes.

    Raises HostenvError if the file is damaged.
    """
    path = config.webhook_secrets_dir / f"{project}.json"
    found = read_json(path)
    if not found:
        return None
    document = Value(found, path, most=None, remedy="run hostenv-provider project add again")
    if document.flag("open"):
        return Secret(None)
    previous = document.member("previous", []).items()
    return Secret(document.member("secret").secret(), tuple(each.secret() for each in previous))


def _locked(config: Config) -> AbstractContextManager[None]:
    return locked(config.webhook_secrets_dir / ".lock")


def _write(config: Config, project: str, document: Mapping[str, object]) -> None:
    write_json(config.webhook_secrets_dir / f"{project}.json", document)
