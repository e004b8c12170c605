"""The command `hostenv-lab`."""

import argparse
import code
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hostenv_core.errors import HostenvError

from hostenv_lab import description, host, image, record
from hostenv_lab.driver import explain
from hostenv_lab.lab import Lab, ending_signals
from hostenv_lab.log import Event, line

_DEFAULT_DESCRIPTION = Path("pkgs/hostenv-demo/machines/machines.toml")
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 done, 1 failed, 2 usage, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        with ending_signals():
            result: int = options.command(options)
            return result
    except HostenvError as error:
        print(f"hostenv-lab: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"hostenv-lab: {error.filename or 'this host'}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("hostenv-lab: interrupted; the machines are gone", file=sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hostenv-lab",
        description="Runs a NixOS testScript on Debian machines, without Nix.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="boot the machines and run a testScript", allow_abbrev=False)
    run.add_argument("script", type=Path, metavar="SCRIPT")
    _add_description(run)
    run.add_argument("--machines", choices=host.CHOICES, default="auto", help="kind of machines (auto)")
    run.add_argument("--workdir", type=Path, help="a new folder for logs and machines (default: below /tmp)")
    run.add_argument(
        "--interactive", action="store_true", help="a Python prompt instead of running the script"
    )
    run.add_argument("--output", type=Path, metavar="DIR", help="where copy_from_machine puts files")
    run.add_argument("--keep", action="store_true", help="keep the work folder after success too")
    run.add_argument(
        "--substitute",
        action="append",
        default=[],
        type=_substitute,
        metavar="NAME=PATH",
        help="use PATH instead of the description's stand-in NAME",
    )
    run.set_defaults(command=_run)

    build = commands.add_parser(
        "image", help="make the image if the cache does not hold it; prints its folder"
    )
    _add_description(build)
    build.set_defaults(command=_image)

    packages = commands.add_parser("packages", help="print the Debian packages that this host lacks")
    packages.add_argument("--machines", choices=host.CHOICES, default="auto")
    packages.set_defaults(command=_packages)

    teardown = commands.add_parser("teardown", help="remove what a run left, its work folder included")
    teardown.add_argument("--workdir", type=Path, required=True)
    teardown.set_defaults(command=_teardown)
    return parser


def _add_description(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--description",
        type=Path,
        default=_DEFAULT_DESCRIPTION,
        metavar="FILE",
        help=f"what the machines are ({_DEFAULT_DESCRIPTION})",
    )


def _substitute(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, Path(path)


def _run(options: argparse.Namespace) -> int:
    described = description.load(options.description)
    if not options.interactive and not options.script.is_file():
        raise HostenvError(f"{options.script}: there is no such script")
    host.check(options.machines)
    workdir = options.workdir or Path(tempfile.mkdtemp(prefix="hostenv-lab-"))
    fresh = options.workdir is None or not options.workdir.exists()
    lab = Lab(
        described,
        workdir,
        options.machines,
        given=dict(options.substitute),
        on_event=_print,
        output_dir=options.output,
    )
    passed = opened = False
    try:
        with lab:
            opened = True
            passed = _drive(lab, options)
    finally:
        if opened and (options.keep or not passed):
            print(f"hostenv-lab: logs are in {workdir / 'logs'}", file=sys.stderr)
        elif opened or fresh:
            shutil.rmtree(workdir, ignore_errors=True)
    return 0 if passed else 1


def _drive(lab: Lab, options: argparse.Namespace) -> bool:
    if options.interactive:
        with contextlib.suppress(SystemExit):
            names = lab.driver.names()
            names["test_script"] = lambda: lab.driver.run_script(options.script)
            # at a prompt Ctrl-C ends what runs, as often as it comes, and not the prompt
            signal.signal(signal.SIGINT, signal.default_int_handler)
            code.interact(
                banner="start_all(), test_script(), machines; Ctrl-D ends the machines", local=names
            )
        return True
    try:
        lab.driver.run_script(options.script)
    except Exception as error:
        print(explain(error, options.script), file=sys.stderr)
        return False
    return True


def _image(options: argparse.Namespace) -> int:
    described = description.load(options.description)
    host.check("container")
    print(image.ensure(described.image, lambda text: print(text, file=sys.stderr)).folder)
    return 0


def _packages(options: argparse.Namespace) -> int:
    print("\n".join(host.required_packages(options.machines)), end="")
    return 0


def _teardown(options: argparse.Namespace) -> int:
    record.teardown(options.workdir)
    return 0


def _print(event: Event) -> None:
    print(line(event), file=sys.stderr, flush=True)
