"""The command `run-demo.sh`."""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_lab import host
from hostenv_lab.lab import ending_signals

from hostenv_demo import demo, workdir
from hostenv_demo.console import Console

_FAILED, _ABORTED = 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 ok, 1 failed, 2 usage, 130 aborted (contract 9)."""
    options = _parser().parse_args(arguments)
    if sys.stdout is None:
        _complain("standard output is closed: start it in a terminal, or send its output to a file")
        return _FAILED
    console = Console(color=not options.no_color)

    def work() -> int:
        if options.teardown:
            return _teardown(options.workdir, console)
        with console:
            return _run(options, console)

    return answer(work)


def answer(work: Callable[[], int]) -> int:
    """The exit status of a run, which is told in one line what it raises (contract 9)."""
    try:
        with ending_signals():
            return work()
    except HostenvError as error:
        _complain(str(error))
        return _FAILED
    except OSError as error:
        _complain(f"{error.filename or 'this host'}: {error.strerror}")
        return _FAILED
    except KeyboardInterrupt:
        _complain("aborted; machines, network and work folder of the run are gone")
        return _ABORTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run-demo.sh",
        description="Moves a live website, database and files, from one machine to another by a Git push."
        " Without --automated it explains each stage, gives commands to try, and waits for a key. Exit"
        " status: 0 the site moved, 1 it did not, 2 wrong usage, 130 aborted (also when nobody reads the"
        " output any more).",
        epilog="Example: ./run-demo.sh --automated --cleanup",
        allow_abbrev=False,
    )
    parser.add_argument("--automated", action="store_true", help="run every stage without a question")
    parser.add_argument("--cleanup", action="store_true", help="remove the work folder after success")
    parser.add_argument("--teardown", action="store_true", help="remove what crashed runs left, and exit")
    parser.add_argument(
        "--workdir", type=Path, metavar="DIR", help="the run's folder (default: a new one below /tmp)"
    )
    parser.add_argument(
        "--machines",
        choices=host.CHOICES,
        default="auto",
        help="VMs by QEMU or containers by systemd-nspawn (auto: VMs where KVM works, else containers)",
    )
    parser.add_argument(
        "--comin",
        type=_program,
        metavar="PROGRAM",
        help="the real comin (default: the one on PATH, else a stand-in)",
    )
    parser.add_argument(
        "--drupal", type=_drupal, metavar="DIR", help="a real Drupal's web root instead of the stand-in"
    )
    parser.add_argument("--no-color", action="store_true", help="no colours")
    parser.add_argument(
        "--keep-failed-workdir", action="store_true", help="keep the whole work folder of a failed run"
    )
    return parser


def _program(text: str) -> Path:
    path = Path(text)
    if not path.is_file() or not os.access(path, os.X_OK):
        raise argparse.ArgumentTypeError(f"{text}: is not an executable file; name the comin program itself")
    return path.resolve()


def _drupal(text: str) -> Path:
    """The tree that holds the web root and `vendor`, which Composer's project template has beside it."""
    root = Path(text).resolve()
    if not (root / "core/lib/Drupal.php").is_file():
        raise argparse.ArgumentTypeError(
            f"{text}: has no core/lib/Drupal.php; name the web root of a Drupal 10 or 11"
        )
    if (root / "vendor/autoload.php").is_file():
        return root
    if root.name == "web" and (root.parent / "vendor/autoload.php").is_file():
        return root.parent
    raise argparse.ArgumentTypeError(
        f"{text}: has no vendor/autoload.php, neither here nor beside; run composer install"
    )


def _run(options: argparse.Namespace, console: Console) -> int:
    comin = options.comin or (Path(found) if (found := shutil.which("comin")) else None)
    given = {name: path for name, path in (("comin", comin), ("drupal", options.drupal)) if path}
    chosen = demo.Options(
        machines=options.machines,
        workdir=options.workdir,
        automated=options.automated,
        cleanup=options.cleanup,
        keep_failed_workdir=options.keep_failed_workdir,
        given=given,
    )
    return verdict(demo.run(chosen, console), console)


def verdict(passed: bool, console: Console) -> int:
    """Say how a run ended; returns its exit status."""
    if not passed:
        console.error("The demo failed.")
        return _FAILED
    console.success(f"The site moved. {sum(seconds for _, seconds in console.stages):.0f} s in all.")
    return 0


def _teardown(folder: Path | None, console: Console) -> int:
    folders = [folder] if folder else workdir.left_behind()
    status = 0
    for found in folders:
        try:
            workdir.remove(found)
        except HostenvError as error:
            _complain(str(error))
            status = _FAILED
        else:
            console.info(f"removed {found}")
    if not folders:
        console.info("nothing was left behind")
    return status


def _complain(text: str) -> None:
    # other scripts run through run-demo.sh
    print(f"{os.environ.get('HOSTENV_DEMO_NAME', 'run-demo')}: {text}", file=sys.stderr)
