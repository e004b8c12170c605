"""The command line."""

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_lab.lab import ending_signals

from hostenv_nixos.inputs import Inputs
from hostenv_nixos.machines import SYSTEM, Check, Machines

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    options = _parser().parse_args(arguments)
    try:
        with ending_signals():
            return _run(options)
    except HostenvError as error:
        print(f"tests/nixos/run: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"tests/nixos/run: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tests/nixos/run: interrupted; nothing is left", file=sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tests/nixos/run",
        description="Builds the flake's NixOS tests from Debian's programs and runs them in containers."
        " Needs root. README.md beside this program says what that shows and what it cannot.",
    )
    parser.add_argument("--nixpkgs", type=Path, required=True, metavar="DIR", help="a source tree of nixpkgs")
    parser.add_argument(
        "--comin", type=Path, required=True, metavar="DIR", help="comin's, of the flake's version"
    )
    parser.add_argument(
        "--comin-program", type=Path, metavar="FILE", help="a built comin, else the lab's stand-in"
    )
    parser.add_argument(
        "--on", metavar="CHECK", default="moves", help="whose machines a SCRIPT gets (%(default)s)"
    )
    parser.add_argument(
        "--outputs", action="store_true", help="first build all of the flake that needs no machine"
    )
    parser.add_argument("--list", action="store_true", help="name the checks, and exit")
    parser.add_argument(
        "what",
        nargs="*",
        metavar="SCRIPT|CHECK",
        help="checks of the flake, or files of the test driver's Python; by default every check with machines"
        " that needs no QEMU",
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    inputs = Inputs(options.nixpkgs, options.comin, options.comin_program)
    scripts = [Path(what) for what in options.what if what.endswith(".py")]
    for script in scripts:
        if not script.is_file():
            raise HostenvError(f"{script}: there is no such script")
    with Machines(inputs, _say) as machines:
        checks = machines.checks()
        if options.list:
            for check in checks.values():
                print(f"{check.name:20} {_kind(check)}")
            return 0
        if options.outputs:
            with _timed("the flake's outputs without machines: building"):
                machines.build("withoutMachines")
        wanted = _chosen(
            checks,
            [what for what in options.what if not what.endswith(".py")],
            bool(scripts or options.outputs),
        )
        if scripts and options.on not in checks:
            raise HostenvError(f"--on {options.on}: the flake has no such check; --list names them")
        results = [(check.name, _one(machines, check)) for check in wanted]
        if scripts:
            driver = _built(machines, checks[options.on])
            results += [(str(script), _driven(machines, str(script), driver, script)) for script in scripts]
    for name, passed in results:
        print(f"{name}: {'passed' if passed else 'FAILED'}")
    return 0 if all(passed for _, passed in results) else 1


def _chosen(checks: Mapping[str, Check], names: Sequence[str], only_named: bool) -> list[Check]:
    for name in names:
        if name not in checks:
            raise HostenvError(f"{name}: the flake has no such check; --list names them")
    if names or only_named:
        return [checks[name] for name in names]
    return [check for check in checks.values() if check.script is not None and not check.needs_qemu]


def _kind(check: Check) -> str:
    if check.script is None:
        return "a build"
    return "machines of QEMU's own" if check.needs_qemu else "machines"


def _one(machines: Machines, check: Check) -> bool:
    if check.script is None:
        with _timed(f"{check.name}: building"):
            machines.build(f"checks.{SYSTEM}.{check.name}")
        return True
    if check.needs_qemu:
        raise HostenvError(f"{check.name}: its script asks of the driver what only QEMU can")
    return _driven(machines, check.name, _built(machines, check))


def _built(machines: Machines, check: Check) -> Path:
    with _timed(f"{check.name}: building its machines"):
        return machines.build(f"checks.{SYSTEM}.{check.name}.driver")


def _driven(machines: Machines, name: str, driver: Path, script: Path | None = None) -> bool:
    with _timed(f"{name}: running"):
        return machines.drive(driver, script)


@contextlib.contextmanager
def _timed(what: str) -> Iterator[None]:
    _say(what)
    begin = time.monotonic()
    yield
    _say(f"{what} took {time.monotonic() - begin:.0f} s")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
