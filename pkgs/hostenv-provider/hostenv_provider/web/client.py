"""What commands ask the running service, over its socket (contract 4)."""

import http.client
import json
from collections.abc import Mapping
from urllib.parse import quote

from hostenv_core.errors import HostenvError
from hostenv_core.web import UnixConnection

from hostenv_provider.config import Config

_TIMEOUT = 60.0
# For requests that may run restic for each of many environments.
_LONG_TIMEOUT = 3600.0


class Client:
    """The service of this machine."""

    def __init__(self, config: Config) -> None:
        self._path = config.socket

    def start_job(self, request: Mapping[str, object]) -> str:
        """Ask for a job; returns its id. Raises HostenvError if the service refuses or does not run."""
        answer, _ = self._request("POST", "/api/jobs", json.dumps(request))
        return str(answer["jobId"])

    def cancel(self, job_id: str, by: str) -> None:
        """End a job for somebody. Raises HostenvError if it is too late, or the service does not run."""
        self._request("POST", f"/api/jobs/{quote(job_id, safe='')}/cancel", json.dumps({"by": by}))

    def replace_backup_accounts(self) -> dict[str, object]:
        """End all accounts and keys of backups: how many, and which later. Raises HostenvError."""
        return self._request("POST", "/api/backup-accounts/replace", timeout=_LONG_TIMEOUT)[0]

    def compromised(self, node: str, *, hash_salts: bool, dry_run: bool) -> dict[str, object]:
        """Replace all that a node ever had, or only list it. Raises HostenvError."""
        body = json.dumps({"hashSalts": hash_salts, "dryRun": dry_run})
        path = f"/api/nodes/{quote(node, safe='')}/compromised"
        return self._request("POST", path, body, timeout=_LONG_TIMEOUT)[0]

    def find_job(self, prefix: str) -> str:
        """The id that begins so, else what was given. Raises HostenvError if several do."""
        found = [job_id for job in self.jobs() if (job_id := str(job["jobId"])).startswith(prefix)]
        if len(found) > 1:
            raise HostenvError(f"several jobs begin with {prefix!r}: give more of the id")
        return found[0] if found else prefix

    def jobs(self) -> list[dict[str, object]]:
        """The newest jobs, newest first. Raises HostenvError."""
        answer, _ = self._request("GET", "/api/jobs")
        jobs = answer["jobs"]
        assert isinstance(jobs, list)
        return jobs

    def job(self, job_id: str, tag: str | None = None) -> tuple[dict[str, object], str]:
        """A job and the tag of this answer; with the tag of the last answer, once something changed.

        Raises HostenvError.
        """
        path = f"/api/jobs/{quote(job_id, safe='')}"
        if tag is None:
            return self._request("GET", path)
        return self._request("GET", f"{path}?wait=30", headers={"If-None-Match": tag})

    def _request(
        self,
        method: str,
        path: str,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = _TIMEOUT,
    ) -> tuple[dict[str, object], str]:
        connection = UnixConnection(self._path, timeout)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            document = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise HostenvError(
                f"{self._path}: the service does not answer ({error}): is hostenv-provider.service running?"
            ) from error
        finally:
            connection.close()
        if response.status >= 400:
            raise HostenvError(str(document["error"]))
        return document, response.headers.get("ETag", "")
