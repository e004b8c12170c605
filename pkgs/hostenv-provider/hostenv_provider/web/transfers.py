"""Parts of a live move, which its source sends to its target through the provider (contract 4, transfer).

The source sends `delta-<n>`, and the target says `applied-<n>` when it has taken it in; the last one, of the
frozen source, is `rest-<n>`.
"""

import re

from hostenv_core.states import ENDED, JobState

from hostenv_provider.disks.parts import Parts
from hostenv_provider.store.store import Store
from hostenv_provider.web.access import Access
from hostenv_provider.web.messages import HttpAnswer, HttpError, HttpRequest

MAX_PART = 256 * 1024 * 1024
"""So many bytes a part may have."""

_NAME = re.compile(r"(?P<kind>delta|rest|applied)-[1-9][0-9]{0,5}")


class Transfers:
    """The routes `PUT` and `GET …/transfer/{user}/{name}`."""

    def __init__(self, parts: Parts, store: Store, access: Access) -> None:
        self._parts = parts
        self._store = store
        self._access = access

    def put(self, request: HttpRequest, job_id: str, user: str, name: str) -> HttpAnswer:
        """Keep a part; sent again it replaces the one that is there."""
        state = self._demand_part(request, job_id, user, name, sends=True)
        if state is not JobState.WAITING:
            return HttpAnswer(409, {"error": f"the job is {state}", "state": state})
        self._parts.keep(job_id, user, name, request.save)
        self._store.announce(job_id)
        return HttpAnswer(201, {"jobId": job_id, "user": user, "name": name})

    def get(self, request: HttpRequest, job_id: str, user: str, name: str) -> HttpAnswer:
        """A part, held back as `wait` says until anything changes. Raises HttpError 404 when it is not there.

        What changes may be that nobody will send it.
        """
        version = self._store.version(job_id)
        state = self._demand_part(request, job_id, user, name, sends=False)
        file = self._parts.find(job_id, user, name)
        if file is None and state not in ENDED:
            self._store.wait(version, request.wait(), job_id)
            file = self._parts.find(job_id, user, name)
        if file is None:
            raise HttpError(404, f"no {name} of {user} in this job")
        return HttpAnswer(200, file=file)

    def _demand_part(
        self, request: HttpRequest, job_id: str, user: str, name: str, *, sends: bool
    ) -> JobState:
        """The job's state. Raises HttpError unless the node may send or read this part."""
        node = request.parameter("node")
        self._access.require_node(request, node)
        match = _NAME.fullmatch(name)
        if match is None:
            raise HttpError(400, "a part is called delta-, rest- or applied-<number>")
        job = self._store.job(job_id)
        ops = {
            record.row.action.op
            for record in self._store.actions(job_id, node)
            if record.row.action.user == user
        }
        source, target = "handover" in ops, "sync" in ops and "restore" in ops
        sender = source if match["kind"] != "applied" else target
        if job is None or not (sender if sends else source or target):
            raise HttpError(403, "forbidden")
        return job.state
