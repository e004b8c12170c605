"""provider-service as this host reaches it: through the socket in a demo's work folder (contract 4, 9)."""

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from hostenv_core.errors import HostenvError
from hostenv_core.web import UnixConnection

SOCKET = Path("runtime/hostenv-provider.sock")
_TIMEOUT = 60.0

Document = Mapping[str, object]


class ProviderService:
    """The service of the run in a work folder. Every method raises HostenvError if it does not answer."""

    def __init__(self, workdir: Path) -> None:
        self._workdir = workdir

    def push(self, project_hash: str, body: Document) -> Document:
        """Deliver a webhook; the answer says whether it was accepted, and as which job."""
        answer, _ = self._request("POST", f"/webhook/{project_hash}", json.dumps(body))
        return answer

    def jobs(self) -> list[Document]:
        """The newest jobs, newest first."""
        answer, _ = self._request("GET", "/api/jobs")
        jobs = answer["jobs"]
        assert isinstance(jobs, list)
        return jobs

    def job(self, job_id: str, tag: str = "") -> tuple[Document, str]:
        """A job and this answer's tag. With the tag of the last answer it waits, up to 30 s, for a change."""
        headers = {"If-None-Match": tag} if tag else {}
        wait = "?wait=30" if tag else ""
        return self._request("GET", f"/api/jobs/{quote(job_id, safe='')}{wait}", headers=headers)

    def _request(
        self, method: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[Document, str]:
        connection = UnixConnection(self._workdir / SOCKET, _TIMEOUT)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            document = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise HostenvError(
                f"{self._workdir / SOCKET}: no service answers there ({error}); name the work folder of a run"
                " that goes on with --workdir"
            ) from error
        finally:
            connection.close()
        if response.status >= 400:
            raise HostenvError(f"the service refused: {document.get('error', response.reason)}")
        return document, response.headers.get("ETag", "")
