"""Runs Nix's evaluator offline and without a store: the machine's own, or the one in a Debian root."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

OLDEST = (2, 18)
TIME_LIMIT = 1200


class NixError(Exception):
    """There is no usable Nix, or it refused an expression; the message is Nix's own."""


@dataclass(frozen=True)
class Nix:
    """The words that start `nix-instantiate`."""

    command: tuple[str, ...]

    @classmethod
    def find(cls, root: Path | None = None) -> "Nix":
        """The Nix of a Debian root, or without one the Nix on PATH.

        Raises NixError if there is none, or one older than nixpkgs accepts.
        """
        if root is not None:
            # through its own loader, so that the root needs no chroot and the caller no privileges
            loaders = sorted(root.glob("lib*/ld-linux-*.so.*"))
            libraries = sorted(root.glob("usr/lib/*-linux-gnu"))
            if not loaders or not libraries or not (root / "usr/bin/nix-instantiate").exists():
                raise NixError(f"{root} has no Nix: install nix-bin in it")
            nix = cls(
                (
                    str(loaders[0]),
                    "--library-path",
                    ":".join(map(str, libraries)),
                    "--argv0",
                    "nix-instantiate",
                    str(root / "usr/bin/nix-instantiate"),
                )
            )
        else:
            program = shutil.which("nix-instantiate")
            if program is None:
                raise NixError("no nix-instantiate on PATH: install Nix, or name a Debian root that has it")
            nix = cls((program,))
        version = re.search(r"(\d+)\.(\d+)", nix._run("--version"))
        if version is None or (int(version[1]), int(version[2])) < OLDEST:
            raise NixError(f"{nix.command[-1]} is older than {OLDEST[0]}.{OLDEST[1]}")
        return nix

    def parse(self, file: Path) -> None:
        """Raises NixError if the file is not a Nix expression without unknown variables."""
        self._run("--parse", str(file))

    def evaluate(self, file: Path, arguments: Mapping[str, Path]) -> object:
        """The value that the file's function returns for these folders.

        Raises NixError with the evaluator's last lines, as a user would see them.
        """
        words = ["--eval", "--strict", "--json", "--readonly-mode", "--show-trace", str(file)]
        for name, path in arguments.items():
            words += ["--arg", name, str(path.resolve())]
        return json.loads(self._run(*words))

    def _run(self, *words: str) -> str:
        environment = {**os.environ, "NIX_REMOTE": "dummy://", "NIX_PATH": ""}
        done = subprocess.run(
            [*self.command, *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
            check=False,
        )
        if done.returncode:
            raise NixError("\n".join(done.stderr.strip().splitlines()[-30:]))
        return done.stdout
