"""The programs that comin runs: git, nix, nix-env, systemctl."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from .config import Remote
from .errors import Cancelled, CominError

NIX = ("nix", "--extra-experimental-features", "flakes nix-command", "--accept-flake-config")
PROFILES = Path("/nix/var/nix/profiles/system-profiles")
PROFILE = PROFILES / "comin"

log = logging.getLogger("comin")


class Commands:
    """Runs programs, of which one, the evaluation or build under way, can be cancelled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._cancelled = False

    def cancellable(self, command: tuple[str, ...], limit: float) -> str:
        """Standard output of an evaluation or build.

        Raises Cancelled, or CominError when it fails or takes more than `limit` seconds.
        """
        log.info("nix: running '%s'", " ".join(command))
        # To a file, not a pipe: a builder that outlives a killed nix would keep a pipe open.
        with tempfile.TemporaryFile("w+") as output:
            with self._lock:
                if self._cancelled:
                    raise Cancelled
                process = subprocess.Popen(command, stdout=output, start_new_session=True)
                self._process = process
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired as error:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise CominError("context deadline exceeded") from error
            finally:
                with self._lock:
                    self._process = None
            if self._cancelled:
                raise Cancelled
            if code != 0:
                raise CominError(f"command '{' '.join(command)}' fails with exit status {code}")
            output.seek(0)
            return output.read()

    def cancel(self) -> None:
        """Kills the evaluation or build under way and refuses further ones until `allow`."""
        with self._lock:
            self._cancelled = True
            if self._process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def allow(self) -> None:
        """Lets evaluations and builds run again."""
        self._cancelled = False


def git(repository: Path, *arguments: str, env: Mapping[str, str] | None = None, limit: float = 60) -> str:
    """Standard output of git in `repository`; raises CominError with what git said."""
    command = ("git", "-C", str(repository), *arguments)
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CominError("context deadline exceeded") from error
    if done.returncode != 0:
        raise CominError(done.stderr.strip() or f"exit status {done.returncode}")
    return done.stdout


def credentials(remote: Remote) -> dict[str, str]:
    """Environment that makes git send the remote's token, which no process list shows."""
    if not remote.token:
        return {"GIT_TERMINAL_PROMPT": "0"}
    pair = base64.b64encode(f"{remote.username}:{remote.token}".encode()).decode()
    return {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"http.{remote.url}.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {pair}",
    }


def derivation_paths(output: str) -> tuple[str, str]:
    """Derivation and output path of `nix derivation show`, in its old and its new (nix 2.33) form."""
    shown = json.loads(output)
    shown = shown.get("derivations") or shown
    drv, value = next(iter(shown.items()))
    out = value["outputs"]["out"]["path"]
    return tuple(path if path.startswith("/nix/store/") else f"/nix/store/{path}" for path in (drv, out))  # type: ignore[return-value]


def unit_hash() -> str:
    """Hash of comin's own unit file; empty where there is no such unit."""
    done = subprocess.run(["systemctl", "cat", "comin.service"], capture_output=True, timeout=60, check=False)
    return hashlib.sha256(done.stdout).hexdigest() if done.returncode == 0 else ""
