"""One run of the demo: machines, the test script, what is left afterwards."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_lab import description
from hostenv_lab.host import Choice
from hostenv_lab.lab import Lab
from hostenv_lab.log import Event, Sink
from hostenv_lab.parallel import undisturbed

from hostenv_demo import hosts, keys, packages, shell, workdir
from hostenv_demo.console import Console
from hostenv_demo.doorway import Doorway
from hostenv_demo.evidence import FOLDER, REPORT, Recorder
from hostenv_demo.machines import Machines
from hostenv_demo.names import LINK, NODES, ROOT
from hostenv_demo.provider_service import SOCKET
from hostenv_demo.session import Session, sites
from hostenv_demo.summary import Summary, summarise
from hostenv_demo.watch import StepsWatch
from hostenv_demo.wizard import Wizard

DESCRIPTION = ROOT / "pkgs" / "hostenv-demo" / "machines" / "machines.toml"
SCRIPT = ROOT / "tests" / "script.py"


@dataclass(frozen=True)
class Options:
    """What the user chose; the fields are named like the command line's flags."""

    machines: Choice = "auto"
    workdir: Path | None = None
    automated: bool = False
    cleanup: bool = False
    keep_failed_workdir: bool = False
    given: Mapping[str, Path] = field(default_factory=dict)


# Makes the machines of a run, given its work folder and who is to be told what happens; entering the context
# may raise HostenvError.
MakeMachines = Callable[[Path, Sink], AbstractContextManager[Machines]]


def run(options: Options, console: Console) -> bool:
    """Run the whole demo on the lab's machines; False if it failed. Ends as `run_on` does."""
    described = description.load(DESCRIPTION)

    def lab(folder: Path, tell: Sink) -> Lab:
        return Lab(
            described,
            folder,
            options.machines,
            given=options.given,
            on_event=tell,
            output_dir=folder / FOLDER,
        )

    if not options.automated:
        keys.check()
    packages.ensure(options.machines, shell.missing_packages(), console.info)
    return run_on(lab, _parts(options.given), options, console)


def run_on(make: MakeMachines, parts: Mapping[str, str], options: Options, console: Console) -> bool:
    """Run the whole demo; False if it failed. `parts` says which comin and which Drupal run.

    Raises HostenvError if it could not begin, KeyboardInterrupt if the user aborted. Whatever happens,
    machines and network of the run are gone afterwards; the work folder stays unless the run succeeded and
    `cleanup` was asked for, or was aborted.
    """
    folder = workdir.make(options.workdir)
    try:
        passed = _run(make, parts, folder, options, console)
    except KeyboardInterrupt:
        with undisturbed():
            _discard(folder, console)
        raise
    except BaseException:
        with undisturbed():
            _tidy(folder, options, console, passed=False)
        raise
    with undisturbed():
        _tidy(folder, options, console, passed)
    return passed


def _run(
    make: MakeMachines, parts: Mapping[str, str], folder: Path, options: Options, console: Console
) -> bool:
    evidence = folder / FOLDER
    recorder, steps = Recorder(evidence), StepsWatch()

    def tell(event: Event) -> None:
        recorder.event(event)
        steps(event)
        console(event)

    with make(folder, tell) as machines:
        linked = workdir.link(folder)
        console.logs = tuple(folder / "logs" / f"{machine.name}.log" for machine in machines.driver.machines)
        session = Session(machines, recorder, evidence, console, parts)
        console.progress = lambda: session.progress() or steps.progress()
        with Doorway(sites(machines), lambda: shell.is_open(folder)) as door:
            shell.prepare(folder, machines.endpoints, door.url)
            if not options.automated:
                return _guide(machines, session, console, door.url, linked)
            found = summarise(session.play(SCRIPT, lambda _stage: _let_in(machines)))
            _judge(found, console)
            return found.passed


def _let_in(machines: Machines) -> None:
    """Let the run's shell into the machines, once they are up."""
    everyone = machines.driver.machines
    if not shell.is_open(machines.workdir) and all(machine.is_up() for machine in everyone):
        shell.let_in(machines.workdir, everyone, machines.endpoints)


def _guide(machines: Machines, session: Session, console: Console, site: str, linked: bool) -> bool:
    folder, nodes = machines.workdir, sites(machines)
    place = f"./{LINK}" if linked else str(folder)
    words = {
        "enter": f"{place}/enter",
        "a": nodes[NODES[0]],
        "b": nodes[NODES[1]],
        "site": site,
        "workdir": place,
        "socket": f"{place}/{SOCKET}",
    }
    wizard = Wizard(console, keys.read, words)

    def before(stage: str) -> None:
        _let_in(machines)
        wizard.before(stage)

    wizard.begin(shell.hosts_line(site))
    if hosts.available() and wizard.agrees("Shall hostctl add that line, until the run ends?"):
        _add_names(folder, console)
    found = summarise(session.play(SCRIPT, before))
    _judge(found, console)
    _name_page(folder, console)
    (wizard.end if found.passed else wizard.failed)()
    return found.passed


def _add_names(folder: Path, console: Console) -> None:
    try:
        hosts.add(folder)
    except HostenvError as error:
        # names are a comfort; the address works without them
        console.info(f"   {error}; the demo goes on without names")


def _parts(given: Mapping[str, Path]) -> dict[str, str]:
    return {
        "comin": str(given["comin"]) if "comin" in given else "the lab's stand-in",
        "Drupal": str(given["drupal"]) if "drupal" in given else "the lab's stand-in",
    }


def _judge(found: Summary, console: Console) -> None:
    console.info("")
    if not found.passed:
        console.error(f"{found.headline}. {found.explanation}")


def _name_page(folder: Path, console: Console) -> None:
    page = folder / FOLDER / REPORT
    # a run that could not begin has none
    if page.exists():
        console.info(f"what happened, as a page: {page}")


def _tidy(folder: Path, options: Options, console: Console, passed: bool) -> None:
    if passed and not options.cleanup:
        _keep(folder, console)
        _name_page(folder, console)
        console.info(
            f"logs and evidence are in {folder}; remove it with: ./run-demo.sh --teardown --workdir {folder}"
        )
        return
    if not passed and options.keep_failed_workdir:
        _keep(folder, console)
        _name_page(folder, console)
        console.info(f"the work folder of the failed run is {folder}")
        return
    if not passed and (kept := workdir.keep_logs(folder)):
        _name_page(kept, console)
        console.info(f"the logs of the failed run are in {kept}")
    _discard(folder, console)


def _keep(folder: Path, console: Console) -> None:
    _drop_names(folder, console)
    workdir.keep(folder)


def _discard(folder: Path, console: Console) -> None:
    if _drop_names(folder, console):
        workdir.discard(folder)
        return
    workdir.keep(folder)
    console.error(f"their record stays until: ./run-demo.sh --teardown --workdir {folder}")


def _drop_names(folder: Path, console: Console) -> bool:
    try:
        hosts.remove(folder)
    except HostenvError as error:
        # no part of what the demo shows
        console.error(str(error))
        return False
    return True
