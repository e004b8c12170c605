"""The projects' webhook secrets: made by `project add`, read by the service at every delivery."""

import secrets

from hostenv_provider.config import Config
from hostenv_provider.errors import HostenvError
from hostenv_provider.files import read_object, write_private
from hostenv_provider.webhook import Secret

_OPEN = '{"open": true}\n'


def create(config: Config, project: str) -> str:
    """Make the secret of a project, `<org>__<project>`, which ends the one it had, and return it.

    Raises HostenvError if it cannot be written.
    """
    value = secrets.token_hex(32)
    write_private(config.webhook_secrets_dir / f"{project}.json", f'{{"secret": "{value}"}}\n')
    return value


def leave_open(config: Config, project: str) -> None:
    """Let anybody start jobs of the project (`project add --open-webhook`, for the demo).

    Raises HostenvError if that cannot be written.
    """
    write_private(config.webhook_secrets_dir / f"{project}.json", _OPEN)


def read(config: Config, project: str) -> Secret | None:
    """How the project's webhook is guarded; None if nothing was ever decided, so that nobody passes.

    Raises HostenvError if the file is damaged.
    """
    path = config.webhook_secrets_dir / f"{project}.json"
    document = read_object(path)
    if not document:
        return None
    if document.get("open") is True:
        return Secret(None)
    value = document.get("secret")
    if not isinstance(value, str) or not value:
        raise HostenvError(f"{path}: holds no secret: run hostenv-provider project add again")
    return Secret(value)
