"""Switches to what was built, one generation after the other."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from .commands import PROFILE, PROFILES, unit_hash
from .config import Json
from .errors import CominError
from .store import Store, now

log = logging.getLogger("comin")


class Deployer:
    """A thread with room for one waiting generation, the newest submitted."""

    def __init__(self, store: Store, hook: str) -> None:
        self._store = store
        self._hook = hook
        self._changed = threading.Condition()
        self._waiting: tuple[Json, str] | None = None
        self._is_deploying = False
        self._deployment = self._previous = store.newest()

    def state(self) -> Json:
        """comin's `deployer`."""
        with self._changed:
            generation, operation = self._waiting or (None, "")
            return {
                "is_deploying": self._is_deploying,
                "generation_to_deploy": generation,
                "operation": operation,
                "deployment": self._deployment,
                "previous_deployment": self._previous,
                "is_suspended": False,
            }

    def submit(self, generation: Json, operation: str) -> None:
        """Hands over a built generation; skips what the deployment before the current one had.

        That is what comin does: going back to the last but one generation is skipped, and going on to the
        same generation again is not.
        """
        with self._changed:
            previous = self._previous
            if (
                previous is not None
                and previous["generation"]["out_path"] == generation["out_path"]
                and previous["operation"] == operation
            ):
                log.info(
                    "deployer: skipping generation %s: out path %s with operation %s is already deployed",
                    generation["uuid"],
                    generation["out_path"],
                    operation,
                )
                return
            self._waiting = generation, operation
            self._changed.notify()

    def run(self) -> None:
        """Deploys for ever; ends the process when comin's own unit changed, to be restarted by systemd."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None)
                assert self._waiting is not None
                generation, operation = self._waiting
                self._waiting = None
                self._is_deploying = True
                deployment = self._store.begin(generation, operation)
                self._previous, self._deployment = self._deployment, deployment
            self._deploy(deployment)
            self._run_hook(deployment)
            with self._changed:
                self._is_deploying = False
            if deployment["restart_comin"]:
                log.info("manager: exiting comin to let the service manager restart it")
                os._exit(0)

    def _deploy(self, deployment: Json) -> None:
        out_path, operation = Path(deployment["generation"]["out_path"]), deployment["operation"]
        log.info("deployer: deploying %s with operation %s", out_path, operation)
        before = unit_hash()
        profile, error = "", ""
        try:
            if operation in ("switch", "boot"):
                profile = self._set_profile(out_path)
            self._remove_profiles({*self._store.profiles(), profile})
            self._call([str(out_path / "bin/switch-to-configuration"), operation])
        except CominError as failure:
            error = str(failure)
            log.error("deployer: %s", error)
        restart = not error and unit_hash() != before
        with self._changed:
            deployment.update(
                status="done", error_msg=error, profile_path=profile, restart_comin=restart, ended_at=now()
            )
            self._store.save()

    @staticmethod
    def _call(command: list[str]) -> None:
        # A switch may take as long as it likes: comin sets no limit either.
        log.info("nix: running '%s'", " ".join(command))
        try:
            code = subprocess.run(command, check=False).returncode
        except OSError as error:
            raise CominError(f"command {' '.join(command)} fails with {error}") from error
        if code != 0:
            raise CominError(f"command {' '.join(command)} fails with exit status {code}")

    def _set_profile(self, out_path: Path) -> str:
        PROFILES.mkdir(mode=0o000, parents=True, exist_ok=True)
        self._call(["nix-env", "--profile", str(PROFILE), "--set", str(out_path)])
        return str(PROFILES / os.readlink(PROFILE))

    @staticmethod
    def _remove_profiles(keep: set[str]) -> None:
        if not PROFILE.is_symlink():
            return
        kept = {PROFILE.name, os.readlink(PROFILE), *(Path(link).name for link in keep)}
        for link in PROFILES.iterdir():
            if link.name not in kept:
                link.unlink()

    def _run_hook(self, deployment: Json) -> None:
        if not self._hook:
            return
        generation = deployment["generation"]
        facts = {
            "COMIN_GIT_SHA": generation["selected_commit_id"],
            "COMIN_GIT_REF": f"{generation['selected_remote_name']}/{generation['selected_branch_name']}",
            "COMIN_GIT_MSG": generation["selected_commit_msg"].strip("\n"),
            "COMIN_HOSTNAME": generation["hostname"],
            "COMIN_GENERATION": generation["uuid"],
            "COMIN_STATUS": deployment["status"],
            "COMIN_ERROR_MSG": deployment["error_msg"],
        }
        try:
            # No limit here either, and nothing of the output in the log: comin shows it with --debug only.
            done = subprocess.run([self._hook], env={**os.environ, **facts}, capture_output=True, check=False)
            problem = f"exit status {done.returncode}" if done.returncode else ""
        except OSError as error:
            problem = str(error)
        if problem:
            log.error("deployer: post deployment command [%s] failed %s", self._hook, problem)


Submit = Callable[[Json, str], None]
