"""One run: the Debian root, the store beside it, and the namespaces in which Nix and the driver work."""

import contextlib
import json
import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hostenv_core import processes
from hostenv_core.errors import HostenvError
from hostenv_core.locks import locked
from hostenv_lab import host, image, record, run
from hostenv_lab.description import ImageDescription
from hostenv_lab.disk import require_space
from hostenv_lab.parallel import undisturbed

from hostenv_nixos.inputs import TREE, Inputs, copy_tree

HERE = Path(__file__).resolve().parents[1]
SYSTEM = "x86_64-linux"
_NEEDED_MIB = 3 * 1024
_EVALUATION_TIMEOUT = 1800
_BUILD_TIMEOUT = 7200
_TEST_TIMEOUT = 7200
_SHOWN_LINES = 30
_CONFIG = re.compile(r"--config (/nix/store/\S+?\.json)")
# Builds have the root's own compiler and tools, which a sandbox would hide.
_NIX_CONFIG = """\
sandbox = false
build-users-group =
substituters =
experimental-features = nix-command flakes
"""
# Ends what a killed run left; it waits for the run's own process.
_GUARD = """
tail --pid="$1" -f /dev/null
if [ -e "$2/lab.json" ]; then PYTHONPATH=$3 exec "$4" -m hostenv_lab teardown --workdir "$2"; fi
"""
_FAILED_BUILD = re.compile(r"^error: builder for .*$(?:\n  .*)*", re.MULTILINE)
# What of virtual machines' methods containers lack is added to them (containers.py).
_PREAMBLE = (
    'import sys; sys.path.append("/hostenv/tests/nixos");'
    " from hostenv_nixos import containers; containers.complete()\n"
)
# Methods of the test driver that only its virtual machines can have.
_ONLY_QEMU = re.compile(r"\.(screenshot|send_key|send_chars|wait_for_text)\(")


@dataclass(frozen=True)
class Check:
    """A check of the flake: with `script`, if it has machines."""

    name: str
    script: str | None

    @property
    def needs_qemu(self) -> bool:
        """Whether its script asks of the driver what no container can do."""
        return self.script is not None and bool(_ONLY_QEMU.search(self.script))


def cache_folder() -> Path:
    """Where stores and runs are kept: `${XDG_CACHE_HOME:-~/.cache}/hostenv-nixos`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hostenv-nixos"


def root_description() -> ImageDescription:
    """What the root is made of: `root.toml`."""
    with (HERE / "root.toml").open("rb") as stream:
        described = tomllib.load(stream)
    return ImageDescription(
        suite=described["suite"],
        packages=tuple(described["packages"]),
        mask=tuple(described["mask"]),
        disable=tuple(described["disable"]),
        remove=tuple(described["remove"]),
    )


class Machines:
    """Builds and runs the flake's checks, as a context manager that leaves only its cache.

    Mounts and networks belong to namespaces of the run's processes, these to its control group; a process
    beside it ends them all if this one is killed. Entering raises HostenvError.
    """

    def __init__(self, inputs: Inputs, progress: Callable[[str], None]) -> None:
        self._inputs = inputs
        self._progress = progress
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _open(self) -> None:
        host.check("container")
        cache = cache_folder()
        cache.mkdir(parents=True, exist_ok=True)
        require_space(cache, _NEEDED_MIB)
        self._stack.callback(os.umask, os.umask(0o022))
        self._sweep(cache / "runs")
        self._work = Path(tempfile.mkdtemp(dir=cache / "runs"))
        kept = record.create(self._work)
        path = os.pathsep.join(str(TREE / "pkgs" / name) for name in ("hostenv-lab", "hostenv-core"))
        words = [str(os.getpid()), str(self._work), path, sys.executable]
        guard = run.start(["/bin/sh", "-ec", _GUARD, "guard", *words], output=Path(os.devnull))
        self._stack.callback(processes.kill, guard)
        self._stack.callback(record.teardown, self._work)
        self._group = kept.group()
        self._tools = self._group.open("tools")

        description = root_description()
        self._root = image.ensure(description, self._progress, self._tools).root
        self._store = cache / f"store-{image.image_key(description)}"
        self._store.mkdir(exist_ok=True)
        busy = "waiting for another run that uses the store"
        self._stack.enter_context(locked(self._store / "lock", lambda: self._progress(busy)))
        for folder in ("groups", "nix", "empty", "tmp"):
            (self._work / folder).mkdir()
        copy_tree(self._work / "source")

    def _sweep(self, runs: Path) -> None:
        """Remove what killed runs left, if they took their guard with them."""
        runs.mkdir(exist_ok=True)
        for folder in runs.iterdir():
            with contextlib.suppress(HostenvError):
                if not record.driven(folder):
                    record.teardown(folder)

    def _close(self) -> None:
        with undisturbed():
            self._stack.close()

    def _entered(self, *command: str) -> list[str]:
        """The command line that runs a command in the root, in namespaces and a control group."""
        given = {
            "/nixpkgs": self._inputs.nixpkgs,
            "/comin": self._inputs.comin,
            "/hostenv": self._work / "source",
        }
        if self._inputs.comin_program:
            given["/given/comin"] = self._inputs.comin_program
        folders = [f"{target}={path.resolve()}" for target, path in given.items()]
        private = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        enter = [str(HERE / "enter"), str(self._root), str(self._store), str(self._work), *folders, "--"]
        return run.in_groups(self._tools, [*private, *enter, *command])

    def _nix(self, program: str, *words: str, timeout: float) -> str:
        """What a program of Nix prints of the flake. Raises HostenvError with its last lines."""
        arguments = [
            "--arg",
            "nixpkgs",
            "/nixpkgs",
            "--arg",
            "comin",
            "/comin",
            "--arg",
            "project",
            "/hostenv",
        ]
        if self._inputs.comin_program:
            arguments += ["--arg", "cominProgram", "/given/comin"]
        command = ["env", f"NIX_CONFIG={_NIX_CONFIG}", program, *words, *arguments]
        log = self._work / "nix.log"
        with log.open("w+b") as stderr:
            done = run.run(self._entered(*command), timeout=timeout, stderr=stderr, check=False)
        if done.returncode:
            text = log.read_text(encoding="utf-8", errors="replace")
            # of many builds those that failed, else whatever was said last
            for part in _FAILED_BUILD.findall(text) or [text]:
                for line in part.splitlines()[-_SHOWN_LINES:]:
                    self._progress(f"  {line}")
            raise HostenvError(f"{program} {' '.join(words)} failed; its last lines are above")
        return done.stdout.decode()

    def checks(self) -> Mapping[str, Check]:
        """The flake's checks, by name. Raises HostenvError if it cannot be evaluated."""
        called = (
            "{ nixpkgs, comin, project, cominProgram ? null }@arguments: builtins.mapAttrs"
            " (_: check: if check ? driver then check.config.testScriptString else null)"
            f" (import /hostenv/tests/nixos arguments).checks.{SYSTEM}"
        )
        text = self._nix(
            "nix-instantiate", "--eval", "--strict", "--json", "--expr", called, timeout=_EVALUATION_TIMEOUT
        )
        found: dict[str, str | None] = json.loads(text)
        return {name: Check(name, script) for name, script in found.items()}

    def build(self, attribute: str) -> Path:
        """Build an output of the flake; its path is one of the root's. Raises HostenvError."""
        text = self._nix(
            "nix-build",
            "/hostenv/tests/nixos",
            "--no-build-output",
            "--keep-going",
            "--no-out-link",
            "--attr",
            attribute,
            timeout=_BUILD_TIMEOUT,
        )
        return Path(text.split()[-1])

    def drive(self, driver: Path, script: Path | None = None) -> bool:
        """Run a driver's test, or another script on its machines; tells whether it passed.

        Its words go to standard error. Raises HostenvError if it cannot be run.
        """
        wrapper = (self._on_host(driver) / "bin/nixos-test-driver").read_text(encoding="utf-8")
        found = _CONFIG.search(wrapper)
        if found is None:
            raise HostenvError(f"{driver}: names no configuration; this nixpkgs is newer than the harness")
        config: dict[str, Any] = json.loads(self._on_host(Path(found[1])).read_text(encoding="utf-8"))
        for name in config["containers"]:
            files = "".join(f"{path}\n" for path in self._group.open(name))
            (self._work / "groups" / name).write_text(files, encoding="utf-8")
        text = (script or self._on_host(Path(config["test_script"]))).read_text(encoding="utf-8")
        deafen = (TREE / "tests/container-preamble.py").read_text(encoding="utf-8")
        (self._work / "script.py").write_text(_PREAMBLE + deafen + text, encoding="utf-8")
        config["test_script"] = "/harness/script.py"
        (self._work / "driver.json").write_text(json.dumps(config), encoding="utf-8")
        settings = ["env", "--chdir=/harness/tmp", "XDG_RUNTIME_DIR=/harness/tmp", "LOGFILE=/dev/null"]
        command = [
            *settings,
            str(driver / "bin/nixos-test-driver"),
            "--config",
            "/harness/driver.json",
            "--output_directory",
            "/harness/tmp",
        ]
        try:
            return run.run_visibly(self._entered(*command), timeout=_TEST_TIMEOUT) == 0
        finally:
            with undisturbed():
                self._clear(config["containers"])

    def _on_host(self, path: Path) -> Path:
        return self._store / path.relative_to("/nix")

    def _clear(self, names: Sequence[str]) -> None:
        """End the machines and remove their state: the next test starts from nothing."""
        for name in names:
            self._group.kill(name)
        for folder in ("nix", "tmp"):
            for path in (self._work / folder).iterdir():
                run.run(["rm", "--recursive", "--force", "--one-file-system", str(path)], timeout=300)
