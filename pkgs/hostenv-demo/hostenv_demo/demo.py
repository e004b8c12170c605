"""One run of the demo: machines, the test script, what is left afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hostenv_lab import description
from hostenv_lab.driver import explain
from hostenv_lab.host import Choice
from hostenv_lab.lab import Lab

from hostenv_demo import packages, workdir
from hostenv_demo.console import Console

ROOT = Path(__file__).resolve().parents[3]
DESCRIPTION = ROOT / "tests" / "lab" / "machines.toml"
SCRIPT = ROOT / "tests" / "script.py"


@dataclass(frozen=True)
class Options:
    """What the user chose; the fields are named like the command line's flags."""

    machines: Choice = "auto"
    workdir: Path | None = None
    cleanup: bool = False
    keep_failed_workdir: bool = False
    given: Mapping[str, Path] = field(default_factory=dict)


def run(options: Options, console: Console) -> bool:
    """Run the whole demo without a question; False if the script failed.

    Raises HostenvError if it could not begin. Whatever happens, machines and network of the run are gone
    afterwards; the work folder stays unless the run succeeded and `cleanup` was asked for.
    """
    described = description.load(DESCRIPTION)
    packages.ensure(options.machines)
    folder = workdir.make(options.workdir)
    lab = Lab(described, folder, options.machines, given=options.given, on_event=console)
    passed = False
    try:
        with lab:
            workdir.link(folder)
            for name, endpoint in lab.endpoints.items():
                console.info(f"   {name}: {endpoint}")
            passed = _play(lab, console)
    finally:
        _tidy(folder, options, console, passed)
    return passed


def _play(lab: Lab, console: Console) -> bool:
    try:
        lab.driver.run_script(SCRIPT)
    except Exception as error:
        console.error(explain(error, SCRIPT))
        return False
    return True


def _tidy(folder: Path, options: Options, console: Console, passed: bool) -> None:
    if passed and not options.cleanup:
        console.info(
            f"logs and evidence are in {folder}; remove it with: ./run-demo.sh --teardown --workdir {folder}"
        )
        return
    if not passed and options.keep_failed_workdir:
        console.info(f"the work folder of the failed run is {folder}")
        return
    if not passed and (kept := workdir.keep_logs(folder)):
        console.info(f"the logs of the failed run are in {kept}")
    workdir.discard(folder)
