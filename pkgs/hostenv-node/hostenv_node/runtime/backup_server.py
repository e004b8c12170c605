"""Whether the backup server answers, asked before anybody's writes have to wait for it."""

import time
from collections.abc import Callable, Mapping

from hostenv_core.errors import HostenvError

from hostenv_node.errors import OperationFailed
from hostenv_node.jobs.api import Unreachable

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
# The server may be about to start, or to read a new account.
_PAUSES = (1.0, 2.0, 4.0)


def demand_answer(secrets: Mapping[str, str], sleep: Callable[[float], None] = time.sleep) -> bool:
    """Ask for an environment's repository with its own account; returns whether there is one yet.

    restic repeats a failing request for 15 minutes, and the source would be frozen all that time.

    Raises OperationFailed when the answer is neither the repository nor its absence, and Unreachable when
    there is none at all: then the provider is away, and the next run tries again.
    """
    for pause in _PAUSES:
        answer = _answer(secrets)
        if isinstance(answer, bool):
            return answer
        sleep(pause)
    answer = _answer(secrets)
    if isinstance(answer, bool):
        return answer
    raise answer


def _answer(secrets: Mapping[str, str]) -> bool | HostenvError:
    from requests import RequestException, Session

    try:
        with Session() as session:
            session.trust_env = False
            answer = session.head(
                f"{secrets['backupUrl'].removeprefix('rest:')}config",
                auth=(secrets["backupUser"], secrets["backupPassword"]),
                timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS),
            )
    except RequestException as error:
        return Unreachable(f"the provider's backup server cannot be reached: {error}")
    if answer.status_code in (200, 404):
        return bool(answer.status_code == 200)
    return OperationFailed(
        f"the backup server answers with status {answer.status_code}; see hostenv-backups.service"
    )
