#!/usr/bin/env python3
"""Asserts what building the Nix half cannot show, evaluated against source trees of nixpkgs and comin.

That is refusals, both architectures, and nixpkgs' own packages; tests/nixos/booted.py has what machines show.
Builds and fetches nothing. Without trees it only parses every .nix file. Prints one line per finding and ends
with 1 if there is any; ends with 77 if there is no Nix.
"""

import argparse
import hashlib
import json
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluator import Nix, NixError

TREE = Path(__file__).resolve().parents[2]
SYSTEMS = {"x86_64-linux", "aarch64-linux"}
NODES = ("node-a", "node-b")
PACKAGES = {"provider": "hostenv-provider", "node-a": "hostenv-node", "node-b": "hostenv-node"}
NO_NIX = 77
FEWEST_REFUSALS = 10

STORE_FILE = re.compile(r"(?P<path>/nix/store/[0-9a-z]{32}-[^/\s\"';]+)/(?P<file>[^\s\"';:,]+)")
# stands for the package itself in what the package puts in place of Debian's paths
OUTPUT = re.compile(r"/[0-9a-z]{52}(?=/)")
LAB_NGINX = (TREE / "pkgs/hostenv-demo/machines/files/all/etc/nginx/nginx.conf").read_text()

# Programs that are no package's main one: where nixpkgs says that the package has them, and in which words.
PROGRAMS = {
    ("mariadb-server", "bin/mariadb"): ("pkgs/servers/sql/mariadb/default.nix", "-DINSTALL_BINDIR=bin"),
    ("mariadb-server", "bin/mariadbd"): ("pkgs/servers/sql/mariadb/default.nix", "-DINSTALL_BINDIR=bin"),
    ("mariadb-server", "bin/mariadb-dump"): ("pkgs/servers/sql/mariadb/default.nix", "-DINSTALL_BINDIR=bin"),
    ("mariadb-server", "bin/mariadb-backup"): (
        "pkgs/servers/sql/mariadb/default.nix",
        "-DINSTALL_BINDIR=bin",
    ),
    ("mariadb-server", "bin/mariadb-binlog"): (
        "pkgs/servers/sql/mariadb/default.nix",
        "-DINSTALL_BINDIR=bin",
    ),
    ("mariadb-server", "bin/mariadb-install-db"): (
        "pkgs/servers/sql/mariadb/default.nix",
        "-DINSTALL_SCRIPTDIR=bin",
    ),
    ("php-with-extensions", "bin/php-fpm"): ("pkgs/development/interpreters/php/generic.nix", "/bin/php-fpm"),
    ("systemd", "bin/loginctl"): ("nixos/modules/config/users-groups.nix", "/bin/loginctl enable-linger"),
    ("systemd", "bin/systemctl"): ("nixos/modules/config/console.nix", "/bin/systemctl restart"),
    ("systemd", "bin/systemd-run"): (
        "nixos/modules/services/web-apps/nextcloud.nix",
        '''lib.getExe' config.systemd.package "systemd-run"''',
    ),
    ("shadow", "bin/useradd"): ("nixos/modules/programs/shadow.nix", "useradd.rootOK"),
    ("shadow", "bin/groupadd"): ("nixos/modules/programs/shadow.nix", "groupadd.rootOK"),
    ("shadow", "bin/usermod"): ("nixos/modules/programs/shadow.nix", "usermod.rootOK"),
    ("git", "libexec/git-core/git-http-backend"): (
        "nixos/modules/services/networking/cgit.nix",
        "${pkgs.git}/libexec/git-core/git-http-backend",
    ),
    ("drupal", "share/php/drupal"): (
        "pkgs/build-support/php/builders/v2/hooks/composer-install-hook.sh",
        'cp -r . "$out"/share/php/"${pname}"/',
    ),
}


class Findings:
    """What is wrong, one line each."""

    def __init__(self) -> None:
        self.count = 0
        self.checked = 0

    def check(self, holds: bool, message: str) -> None:
        self.checked += 1
        if not holds:
            self.count += 1
            print(message)

    def equal(self, got: object, wanted: object, what: str) -> None:
        self.check(got == wanted, f"{what} is {got!r}, not {wanted!r}")


def nix_files() -> list[Path]:
    """The tree's Nix expressions, whether or not they are committed."""
    hidden = {".git", "hostenv-demo"}
    return sorted(path for path in TREE.rglob("*.nix") if not hidden & set(path.relative_to(TREE).parts[:1]))


def check_syntax(nix: Nix, findings: Findings) -> None:
    for file in nix_files():
        try:
            nix.parse(file)
            findings.checked += 1
        except NixError as error:
            findings.check(False, f"{file.relative_to(TREE)}: {error}")


def check_outputs(systems: Mapping[str, Any], findings: Findings) -> None:
    findings.equal(set(systems), SYSTEMS, "the flake's systems")
    for system, outputs in systems.items():
        for kind in ("packages", "checks", "devShells"):
            for name, derivation in outputs[kind].items():
                findings.check(derivation.endswith(".drv"), f"{kind}.{system}.{name} is no derivation")
        findings.equal(
            set(outputs["packages"]),
            {
                "default",
                "hostenv-core",
                "hostenv-demo",
                "hostenv-lab",
                "hostenv-node",
                "hostenv-provider",
                "options-doc",
            },
            f"packages.{system}",
        )
        for package in set(PACKAGES.values()):
            findings.equal(outputs["tests"][package], outputs["checkNames"], f"{package}.tests of {system}")
        findings.check({"demo", "trigger-webhook", "lab"} <= set(outputs["apps"]), f"apps.{system} lacks one")
        for name, app in outputs["apps"].items():
            program = Path(app["program"]).name
            findings.check(
                program in commands(), f"apps.{system}.{name} is {program}, which nothing installs"
            )
        findings.check(
            {"migration", "migration-container", "unit-tests", "lint", "format", "types", "options-doc"}
            <= set(outputs["checks"]),
            "a check is missing",
        )
        findings.equal(outputs["hydraJobs"], outputs["checks"], f"Hydra's jobs of {system}")


def check_scenarios(scenarios: Mapping[str, Any], findings: Findings) -> None:
    scripts = {file.stem for file in (TREE / "tests/scenarios").glob("*.py")}
    findings.equal(
        set(scenarios["names"]),
        {name for name in scripts if not name.startswith("test_")},
        "the scenarios among the checks",
    )
    findings.check(scenarios["moves"].endswith(".drv"), "the scenario `moves` is no derivation")


def check_test(test: Mapping[str, Any], findings: Findings) -> None:
    findings.check(test["sameScript"], "the NixOS test runs another script than tests/script.py")
    findings.check(not test["skipped"], "the script's type check or lint is switched off")
    findings.check("--junit-xml=junit.xml" in test["extraDriverArgs"], "the test writes no JUnit report")
    findings.check(test["timeout"] > test["globalTimeout"], "the builder gives up before the test does")
    for node, address in zip(NODES, ("127.0.0.2", "127.0.0.3"), strict=True):
        (forward,) = test["interactive"][node]
        findings.equal(
            (forward["host"], forward["guest"]["port"]),
            ({"address": address, "port": 8080}, 80),
            f"the host's way to {node}",
        )


def check_machine(name: str, machine: Mapping[str, Any], findings: Findings) -> None:
    findings.equal(machine["warnings"], [], f"{name}: warnings")
    findings.equal(machine["assertions"], [], f"{name}: failed assertions")
    text = machine["nginx"]["eventsConfig"].strip()
    findings.check(
        bool(text) and text in LAB_NGINX, f"{name}: nginx's eventsConfig is not the lab's: {text!r}"
    )
    # of virtual machines, which tests/nixos has not
    size = machine["virtualisation"]
    findings.check(size["memorySize"] >= 1536 and size["diskSize"] >= 4096, f"{name} is too small: {size}")
    findings.check(
        size["writableStore"] and not size["writableStoreUseTmpfs"], f"{name} cannot build on its disk"
    )


def check_paths(package: str, paths: Mapping[str, str], findings: Findings) -> None:
    """No path of Debian's is left in a package's units: some are started by what no test does."""
    source = TREE / "pkgs" / package
    files = [
        path for folder in ("systemd", "nginx") for path in (source / folder).rglob("*") if path.is_file()
    ]
    findings.check(len(files) > 3, f"{source} has hardly a unit")
    for file in files:
        text = file.read_text(encoding="utf-8")
        for debian, store in paths.items():
            text = text.replace(debian, store)
        for left in re.findall(r"(?<![\w}])/(?!bin/sh\b)(?:usr|s?bin)/[^\s\"';]*", text):
            findings.check(False, f"{file.relative_to(TREE)} names {left}, which NixOS has not")


def check_tools(name: str, machine: Mapping[str, Any], findings: Findings) -> None:
    """The configuration names each program that the code may ask for."""
    kind = PACKAGES[name].removeprefix("hostenv-")
    configuration = json.loads(machine["configuration"])
    for tool in tools_used(TREE / f"pkgs/hostenv-{kind}/hostenv_{kind}"):
        findings.check(tool in configuration["tools"], f"{name}: {kind}.json has no {tool}")


def check_comin(name: str, comin: Mapping[str, Any], findings: Findings) -> None:
    """Only the provider says what a node hosts, and no test has a branch of the node's own."""
    (remote,) = comin["remotes"]
    findings.equal(remote["branches"]["testing"]["name"], "", f"{name}: comin's testing branch")


def check_store_paths(data: Mapping[str, Any], nixpkgs: Path, findings: Findings) -> None:
    """Every file of the store that ours name is one that its package says it has."""
    packages = {output: program for program in data["programs"] for output in program["outputs"]}
    named: set[tuple[str, str]] = set()
    for machine in data["machines"].values():
        ours = {key: text for key, text in machine["etcSources"].items() if key.startswith("hostenv/tools/")}
        for text in (machine["configuration"], *ours.values()):
            named.update((match["path"], match["file"]) for match in STORE_FILE.finditer(text))
    for replacements in data["paths"].values():
        for text in replacements.values():
            named.update((match["path"], match["file"]) for match in STORE_FILE.finditer(text))
    findings.check(len(named) > 10, "hardly a store path was found")
    for path, file in sorted(named):
        package = packages.get(path)
        if package is None:
            findings.check(False, f"{path}/{file}: of no package that is known here")
            continue
        if file == f"bin/{package['mainProgram']}":
            findings.checked += 1
            continue
        source, text = PROGRAMS.get((package["pname"], file), ("", ""))
        findings.check(
            bool(source) and text in (nixpkgs / source).read_text(encoding="utf-8"),
            f"{path}/{file}: nothing says that {package['pname']} has it",
        )


def check_refusals(data: Mapping[str, Any], findings: Findings) -> None:
    findings.equal(data["right"], [], "what is said of a right configuration")
    findings.check(len(data["wrong"]) >= FEWEST_REFUSALS, "too few wrong configurations")
    for case in data["wrong"]:
        ours = [message for message in case["messages"] if case["option"] in message and "hostenv" in message]
        findings.check(bool(ours), f"{case['what']} is not refused: {case['messages']}")


def check_types(mistyped: Mapping[str, Sequence[bool]], findings: Findings) -> None:
    findings.check(bool(mistyped), "no type was asked")
    for option, taken in mistyped.items():
        findings.check(not any(taken), f"{option} takes a wrong value: {taken}")


def check_renamed(renamed: Mapping[str, Any], findings: Findings) -> None:
    """Old names of options do what they did, and say what they are called now."""
    for service, settings in renamed["moved"].items():
        findings.equal(renamed["settings"][service], settings, f"what old options make of {service}.json")
        for key in settings:
            name = f"services.hostenv-{service}.settings.{key}"
            findings.check(any(name in text for text in renamed["warnings"]), f"no warning names {name}")


def check_options(options: Mapping[str, Any], page: str, findings: Findings) -> None:
    """The page of the options says what the modules say; the check `options-doc` builds it to the letter."""
    again = "build it again: nix build .#options-doc"
    sections = {
        words(heading): words(text)
        for heading, _, text in (part.partition("\n") for part in page.split("\n## ")[1:])
    }
    findings.equal(set(sections), set(options), f"what docs/options.md describes ({again})")
    for name in sections.keys() & options.keys():
        option = options[name]
        said = [option["description"], option["type"]]
        said += [option[key]["text"] for key in ("default", "example") if key in option]
        for text in said:
            findings.check(
                f" {words(text)} " in f" {sections[name]} ",
                f"docs/options.md, {name}: does not say {text!r} ({again})",
            )


def words(text: str) -> str:
    """What is left of a text whatever Markdown makes of it."""
    plain = re.sub(r"\{option\}|\\", "", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return " ".join(plain.replace("`", " ").split())


def check_template(systems: Mapping[str, Any], findings: Findings) -> None:
    findings.equal(set(systems), set(NODES), "the template's systems")
    for name, system in systems.items():
        findings.equal(system["warnings"], [], f"template, {name}: warnings")
        findings.check(system["toplevel"].endswith(".drv"), f"template, {name}: no system")
        findings.equal(system["machineId"], None, f"template, {name}: machine id")
        generation = system["generation"]
        findings.check(
            re.fullmatch(rf"/nix/store/[0-9a-z]{{32}}-hostenv-{name}-[0-9a-f]{{40}}", generation) is not None,
            f"template, {name}: the generation {generation} does not name its commit",
        )
        findings.check(
            f"/bin/hostenv-node switch {generation}\n" in system["switch"]
            and "X-Restart-Triggers=" in system["switch"]
            and "multi-user.target" in system["wantedBy"],
            f"template, {name}: a new commit does not reach hostenv-node switch",
        )
        configuration = json.loads(system["configuration"])
        findings.equal(configuration["cominProfile"], "/etc/hostenv/generation", f"template, {name}: profile")


def commands() -> set[str]:
    """The programs that the packages install."""
    return {
        name
        for file in (TREE / "pkgs").glob("*/pyproject.toml")
        for name in tomllib.loads(file.read_text(encoding="utf-8"))["project"].get("scripts", ())
    }


def tools_used(package: Path) -> set[str]:
    """The names of programs that the package asks its configuration for."""
    calls = re.compile(r"\btool\(\"([a-z][a-z-]*)\"\)")
    return {
        name for file in package.rglob("*.py") for name in calls.findall(file.read_text(encoding="utf-8"))
    }


def template_with_plan(folder: Path) -> Path:
    """The operator's template after a first plan."""
    copy = folder / "provider"
    shutil.copytree(TREE / "templates/provider", copy)
    for node in NODES:
        part = copy / "generated/nodes" / node
        part.mkdir(parents=True)
        part.joinpath("slice.sha256").write_text(f"{hashlib.sha256(node.encode()).hexdigest()}\n")
    return copy


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nixpkgs", type=Path, metavar="DIR", help="a source tree of nixpkgs")
    parser.add_argument("--comin", type=Path, metavar="DIR", help="comin's source tree at the locked commit")
    parser.add_argument(
        "--nix-root", type=Path, metavar="DIR", help="a Debian root with nix-bin to take Nix from"
    )
    arguments = parser.parse_args()
    if (arguments.nixpkgs is None) != (arguments.comin is None):
        parser.error("--nixpkgs and --comin belong together")
    try:
        nix = Nix.find(arguments.nix_root)
    except NixError as error:
        print(f"check_systems: {error}", file=sys.stderr)
        return NO_NIX
    findings = Findings()
    check_syntax(nix, findings)
    if arguments.nixpkgs:
        with tempfile.TemporaryDirectory() as folder:
            trees = {
                "nixpkgs": arguments.nixpkgs,
                "comin": arguments.comin,
                "project": TREE,
                "template": template_with_plan(Path(folder)),
            }
            try:
                data: Any = nix.evaluate(TREE / "tests/nix/inspect.nix", trees)
            except NixError as error:
                print(f"check_systems: {error}", file=sys.stderr)
                return 1
        check_outputs(data["systems"], findings)
        check_test(data["test"], findings)
        check_scenarios(data["scenarios"], findings)
        for name, machine in data["machines"].items():
            check_machine(name, machine, findings)
            check_tools(name, machine, findings)
        for name in NODES:
            check_comin(name, data["machines"][name]["comin"], findings)
        for package, paths in data["paths"].items():
            check_paths(package, paths, findings)
        check_store_paths(data, arguments.nixpkgs, findings)
        check_refusals(data, findings)
        check_types(data["mistyped"], findings)
        check_renamed(data["renamed"], findings)
        check_options(data["options"], (TREE / "docs/options.md").read_text(encoding="utf-8"), findings)
        check_template(data["template"], findings)
    print(f"check_systems: {findings.checked} statements, {findings.count} do not hold")
    return 1 if findings.count else 0


if __name__ == "__main__":
    sys.exit(main())
