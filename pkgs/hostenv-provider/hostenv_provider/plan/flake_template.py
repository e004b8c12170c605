"""The provider repository's `flake.nix`: its text when new, and its list of projects (contract 3)."""

import re
from importlib import resources

from hostenv_core.errors import HostenvError, InvalidData
from hostenv_core.lines import shown

# Addresses that Nix and git both understand, without anything that has a meaning in a Nix string.
_URL = re.compile(r"git\+(https|http|ssh|file)://[A-Za-z0-9._~:/@%+-]+")
_PASSWORD = re.compile(r"git\+[a-z]+://[^/@]*:[^/]*@")
_MARKERS = re.compile(
    r"^(?P<begin> *# begin projects\b[^\n]*\n)(?P<entries>.*?)(?P<end> *# end projects\b)",
    re.MULTILINE | re.DOTALL,
)
_ENTRY = re.compile(r"^ *(?P<name>[A-Za-z0-9_-]+) = ", re.MULTILINE)


def provider_flake() -> str:
    """The `flake.nix` of a provider without projects."""
    return _data("flake.nix")


def switch_to_configuration() -> str:
    """The program of that name of every generation (contract 3)."""
    return _data("switch-to-configuration")


def inputs_expression() -> str:
    """The Nix function that says what the inputs of a provider's `flake.nix` ask for."""
    return _data("inputs.nix")


def project_expression() -> str:
    """The Nix function by which a project's flake is evaluated."""
    return _data("project.nix")


def check_url(url: str) -> str:
    """`url`, if it is an address of a Git repository that the provider can lock and mirror.

    Raises HostenvError.
    """
    if _PASSWORD.match(url):
        raise HostenvError(
            "project address has a password, which every node would see: leave it out and give the service's"
            " user a key or a git credential"
        )
    if not _URL.fullmatch(url) or len(url) > 1000:
        raise HostenvError(
            f"project address {shown(url)} is not git+https://, git+ssh:// or git+file:// with a plain path"
            " and without a query: write for example git+https://example.org/group/project"
        )
    return url


def add_project(flake: str, name: str, url: str) -> str:
    """The text of `flake.nix` with one more project.

    Its own inputs are never fetched (`flake = false`).
    Raises InvalidData if the markers are gone or the project is there already.
    """
    markers = _MARKERS.search(flake)
    if markers is None:
        raise InvalidData(
            "flake.nix: `# begin projects` and `# end projects` in inputs are gone: restore these lines"
        )
    entries = {_entry_name(line): line for line in markers["entries"].splitlines() if _ENTRY.match(line)}
    if name in entries:
        raise InvalidData(f"flake.nix: project {name} is there already: remove its line to add it anew")
    # Nix would lock what is not committed in a local work tree; of another host it cannot resolve `HEAD`.
    query = "?ref=HEAD" if url.startswith("git+file:") else ""
    entries[name] = f'    {name} = {{ url = "{check_url(url)}{query}"; flake = false; }};'
    text = "".join(f"{entries[each]}\n" for each in sorted(entries))
    return flake[: markers.start("entries")] + text + flake[markers.end("entries") :]


def without_projects(flake: str) -> str:
    """The text of `flake.nix` without what stands between the markers."""
    markers = _MARKERS.search(flake)
    if markers is None:
        return flake
    return flake[: markers.start("entries")] + flake[markers.end("entries") :]


def _entry_name(line: str) -> str:
    match = _ENTRY.match(line)
    assert match is not None
    return match["name"]


def _data(name: str) -> str:
    return (resources.files("hostenv_provider") / "data" / name).read_text(encoding="utf-8")
