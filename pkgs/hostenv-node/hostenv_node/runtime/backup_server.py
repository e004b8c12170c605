"""Whether the backup server answers, asked before anybody's writes have to wait for it."""

import time
from collections.abc import Callable, Mapping

from hostenv_node.operations import OperationFailed

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
# The server may be about to start, or to read a new account.
_PAUSES = (1.0, 2.0, 4.0)


def demand_answer(secrets: Mapping[str, str], sleep: Callable[[float], None] = time.sleep) -> None:
    """Ask for an environment's repository by its own account.

    restic repeats a request that fails for 15 minutes, for all of which a source would be frozen.

    Raises OperationFailed when neither the repository nor its absence can be learnt.
    """
    from requests import RequestException, Session

    problem = ""
    for pause in (0.0, *_PAUSES):
        sleep(pause)
        try:
            with Session() as session:
                session.trust_env = False
                answer = session.head(
                    f"{secrets['backupUrl'].removeprefix('rest:')}config",
                    auth=(secrets["backupUser"], secrets["backupPassword"]),
                    timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS),
                )
        except RequestException as error:
            problem = str(error)
            continue
        if answer.status_code in (200, 404):
            return
        problem = f"status {answer.status_code}"
    raise OperationFailed(f"the backup server does not answer ({problem}); see hostenv-backups.service")
