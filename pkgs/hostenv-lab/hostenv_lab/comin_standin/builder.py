"""Evaluates and builds the selected commit; a newer one takes its place."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from pathlib import Path

from .commands import NIX, Commands, derivation_paths
from .config import Config, Json
from .deployer import Submit
from .errors import Cancelled, CominError
from .store import now

EVALUATION_LIMIT = BUILD_LIMIT = 30 * 60

log = logging.getLogger("comin")


class Builder:
    """One evaluation or build at a time, each commit in a thread of its own."""

    def __init__(self, config: Config, repository: Path, machine_id: str, submit: Submit) -> None:
        self._config = config
        self._repository = repository
        self._machine_id = machine_id
        self._submit = submit
        self._operations = {remote.name: remote.operation for remote in config.remotes}
        self._commands = Commands()
        self._thread: threading.Thread | None = None
        self._generation: Json | None = None

    def state(self) -> Json:
        """comin's `builder`."""
        generation = self._generation
        return {
            "hostname": self._config.hostname,
            "is_evaluating": generation is not None and generation["eval_status"] == "evaluating",
            "is_building": generation is not None and generation["build_status"] == "building",
            "generation": generation,
            "generation_uuid": generation["uuid"] if generation is not None else "",
            "is_suspended": False,
        }

    def start(self, status: Json) -> None:
        """Cancels the evaluation or build under way and begins that of the status's selected commit."""
        if self._thread is not None:
            self._commands.cancel()
            self._thread.join()
            self._commands.allow()
        generation = {
            "uuid": str(uuid.uuid4()),
            "repository_path": str(self._repository),
            "repository_subdir": self._config.subdir,
            "hostname": self._config.hostname,
            **{key: status[key] for key in status if key.startswith(("selected_", "main_"))},
            **dict.fromkeys(("eval_started_at", "eval_ended_at", "build_started_at", "build_ended_at")),
            **dict.fromkeys(
                ("eval_err", "out_path", "drv_path", "machine_id", "build_reason", "build_err"), ""
            ),
            "eval_status": "initialized",
            "build_status": "initialized",
        }
        self._generation = generation
        log.info("manager: a generation is evaluating for commit %s", generation["selected_commit_id"])
        self._thread = threading.Thread(target=self._run, args=(generation,), name="builder")
        self._thread.start()

    def _run(self, generation: Json) -> None:
        try:
            if self._evaluate(generation) and self._build(generation):
                self._submit(generation, self._operations[generation["selected_remote_name"]])
        except Cancelled:
            log.info("builder: the generation %s is cancelled", generation["uuid"])

    def _evaluate(self, generation: Json) -> bool:
        generation.update(eval_status="evaluating", eval_started_at=now())
        place = (
            f"git+file://{self._repository}?dir={self._config.subdir}&rev={generation['selected_commit_id']}"
        )
        attribute = f'{place}#nixosConfigurations."{self._config.hostname}".config'
        try:
            shown = self._nix(
                "derivation", "show", f"{attribute}.system.build.toplevel", "-L", "--show-trace"
            )
            drv_path, out_path = derivation_paths(shown)
            machine_id = json.loads(self._nix("eval", f"{attribute}.services.comin.machineId", "--json"))
        except (CominError, Cancelled) as error:
            problem = str(error) or "context canceled"
            generation.update(eval_status="failed", eval_err=problem, eval_ended_at=now())
            log.error("builder: evaluation: %s", problem)
            if isinstance(error, Cancelled):
                raise
            return False
        generation.update(
            eval_status="evaluated",
            eval_ended_at=now(),
            drv_path=drv_path,
            out_path=out_path,
            machine_id=machine_id or "",
        )
        return True

    def _build(self, generation: Json) -> bool:
        generation.update(build_started_at=now(), build_reason="already built")
        if not Path(generation["out_path"]).exists():
            if generation["machine_id"] not in ("", self._machine_id):
                generation.update(build_started_at=None, build_reason="")
                log.info(
                    "manager: comin.machineId is %s, this is %s", generation["machine_id"], self._machine_id
                )
                return False
            generation.update(build_status="building", build_reason="need to be built")
            try:
                self._nix("build", f"{generation['drv_path']}^*", "-L", "--no-link")
            except (CominError, Cancelled) as error:
                problem = str(error) or "context canceled"
                generation.update(build_status="failed", build_err=problem, build_ended_at=now())
                log.error("builder: build: %s", problem)
                if isinstance(error, Cancelled):
                    raise
                return False
        generation.update(build_status="built", build_ended_at=now())
        return True

    def _nix(self, *arguments: str) -> str:
        limit = BUILD_LIMIT if arguments[0] == "build" else EVALUATION_LIMIT
        return self._commands.cancellable((*NIX, *arguments), limit)
